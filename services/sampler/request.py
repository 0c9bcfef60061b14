"""Checks requests: protobuf in, frozen dataclasses out, or an error naming field, value and limit."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pequod.sampler import v1
from services.common.errors import invalid, unsupported
from services.sampler.engine import Traits
from services.sampler.ngrams.alphabet import Alphabet, Ids
from services.sampler.ngrams.chain import NgramOptions, Smoothing
from services.sampler.sampling import Sampling
from services.sampler.sequence import Plan, Stopping, Task

PROMPT_BYTES = 2**20
PROMPT_IDS = PROMPT_BYTES // 4
REPORTED = 100_000
"""Positions and alternatives that a request may ask for: some 15 MB while they wait to be sent."""

_DEFAULT_TOKENS = 256
_SMOOTHINGS = {
    v1.SMOOTHING_UNSPECIFIED: Smoothing.BACKOFF,
    v1.SMOOTHING_BACKOFF: Smoothing.BACKOFF,
    v1.SMOOTHING_KNESER_NEY: Smoothing.KNESER_NEY,
}
_NO_STOPPING = Stopping(max_tokens=0)

AnyRequest = v1.GenerateRequest | v1.GenerateStreamRequest | v1.NextTokensRequest | v1.ScoreRequest


@dataclass(frozen=True)
class Source:
    """What to continue or score: text or ids, and the request's field that held it."""

    field: str
    text: str = ""
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """A request whose values are sound; whether its model can do it is for ``plan`` to say."""

    task: Task
    source: Source
    sampling: Sampling
    stopping: Stopping
    order: int | None
    smoothing: Smoothing
    features: frozenset[str]
    """Fields set that not every model understands."""
    seed: int = 0
    n: int = 1
    best_of: int = 1
    logprobs: bool = False
    prompt_logprobs: bool = False
    top: int = 0
    rows: int = 0


def read_generate(request: v1.GenerateRequest | v1.GenerateStreamRequest, max_tokens: int) -> Request:
    """Check a request for completions of at most ``max_tokens`` symbols each."""
    n = _within("n", request.n or 1, 1, 16)
    best_of = _within("best_of", request.best_of or n, n, 32)
    if isinstance(request, v1.GenerateStreamRequest) and best_of != n:
        raise invalid("best_of", f"must be 0 or equal to n ({n}) in a stream, got {best_of}")
    if request.top_logprobs and not (request.logprobs or request.prompt_logprobs):
        raise invalid("top_logprobs", "needs logprobs or prompt_logprobs to be true")
    return Request(
        task=Task.GENERATE,
        source=_source(request),
        sampling=_sampling(request.sampling),
        stopping=_stopping(request.stopping, max_tokens),
        order=_order(request.ngram),
        smoothing=_smoothing(request.ngram),
        features=_features(request) | ({"structured"} if request.HasField("structured") else set()),
        seed=request.sampling.seed if request.sampling.HasField("seed") else secrets.randbits(53),
        n=n,
        best_of=best_of,
        logprobs=request.logprobs,
        prompt_logprobs=request.prompt_logprobs,
        top=_within("top_logprobs", request.top_logprobs, 0, 50),
    )


def read_table(request: v1.NextTokensRequest) -> Request:
    """Check a request for the table of next symbols."""
    return Request(
        task=Task.TABLE,
        source=_source(request),
        sampling=_sampling(request.sampling),
        stopping=_NO_STOPPING,
        order=_order(request.ngram),
        smoothing=_smoothing(request.ngram),
        features=_features(request),
        rows=_within("limit", request.limit, 0, 1000) or 10,
    )


def read_score(request: v1.ScoreRequest) -> Request:
    """Check a request for the likelihood of a text."""
    source = _source(request)
    if source.field != "chat" and not (source.text or source.ids):
        raise invalid(source.field, "must not be empty")
    if request.top_logprobs and not request.per_token:
        raise invalid("top_logprobs", "needs per_token to be true")
    return Request(
        task=Task.SCORE,
        source=source,
        sampling=Sampling(),
        stopping=_NO_STOPPING,
        order=_order(request.ngram),
        smoothing=_smoothing(request.ngram),
        features=_features(request),
        prompt_logprobs=request.per_token,
        top=_within("top_logprobs", request.top_logprobs, 0, 50),
    )


def plan(request: Request, model: str, traits: Traits, alphabet: Alphabet) -> Plan:
    """What ``request`` asks of a model with these traits, in that model's symbols."""
    if missing := sorted(request.features - traits.features):
        raise unsupported(f"{missing[0]}: model {model!r} is an n-gram model and does not support it")
    size = traits.vocabulary_size
    _check_ids("sampling.logit_bias", (symbol for symbol, _ in request.sampling.logit_bias), size)
    _check_ids("stopping.stop_ids", request.stopping.stop_ids, size)
    _check_ids(request.source.field, request.source.ids, size)
    text = request.source.text
    prompt = alphabet.encode(text) if text else np.array(request.source.ids, np.int64)
    _check_reported(request, prompt)
    return Plan(
        task=request.task,
        prompt=prompt,
        ngram=_ngram(request, model, traits),
        sampling=request.sampling,
        stopping=request.stopping,
        seed=request.seed,
        logprobs=request.logprobs,
        prompt_logprobs=request.prompt_logprobs,
        top=request.top,
        rows=request.rows,
    )


def _source(request: AnyRequest) -> Source:
    """The input that is set. Sizes are limited here, before any model is touched."""
    field = request.WhichOneof("input")
    if field is None:
        kind = "text" if isinstance(request, v1.ScoreRequest) else "prompt"
        raise invalid(kind, f"one of {kind}, {kind}_ids and chat is required")
    if field == "chat":
        return Source(field)
    value = getattr(request, field)
    if isinstance(value, str):
        size = len(value.encode())
        if size > PROMPT_BYTES:
            raise invalid(field, f"must have at most {PROMPT_BYTES} bytes (1 MiB), got {size}")
        return Source(field, text=value)
    if len(value.ids) > PROMPT_IDS:
        raise invalid(field, f"must have at most {PROMPT_IDS} ids, got {len(value.ids)}")
    return Source(field, ids=tuple(value.ids))


def _sampling(message: v1.Sampling) -> Sampling:
    given = {field.name: value for field, value in message.ListFields()}
    default = Sampling()

    def number(name: str, low: float, high: float, *, above: bool = False, below: bool = False) -> float:
        value = given.get(name, getattr(default, name))
        return _number(f"sampling.{name}", value, low, high, above=above, below=below)

    return Sampling(
        temperature=number("temperature", 0, 100),
        top_k=message.top_k,
        top_p=number("top_p", 0, 1, above=True),
        min_p=number("min_p", 0, 1, below=True),
        repetition_penalty=number("repetition_penalty", 0, 10, above=True),
        presence_penalty=number("presence_penalty", -2, 2),
        frequency_penalty=number("frequency_penalty", -2, 2),
        logit_bias=tuple(
            (symbol, _number(f"sampling.logit_bias[{symbol}]", bias, -100, 100))
            for symbol, bias in sorted(message.logit_bias.items())
        ),
    )


def _stopping(message: v1.Stopping, limit: int) -> Stopping:
    wanted = message.max_tokens if message.HasField("max_tokens") else min(_DEFAULT_TOKENS, limit)
    max_tokens = _within("stopping.max_tokens", wanted, 1, limit)
    _within("stopping.stop", len(message.stop), 0, 16, "texts")
    for place, stop in enumerate(message.stop):
        _within(f"stopping.stop[{place}]", len(stop), 1, 256, "characters")
    _within("stopping.stop_ids", len(message.stop_ids), 0, 64, "ids")
    return Stopping(
        max_tokens=max_tokens,
        min_tokens=_within("stopping.min_tokens", message.min_tokens, 0, max_tokens),
        stop=tuple(message.stop),
        stop_ids=frozenset(message.stop_ids),
    )


def _order(message: v1.NgramOptions) -> int | None:
    if not message.HasField("order"):
        return None
    if message.order == 0:
        raise invalid("ngram.order", "must be at least 1, got 0")
    return message.order


def _smoothing(message: v1.NgramOptions) -> Smoothing:
    if message.smoothing not in _SMOOTHINGS:
        raise invalid("ngram.smoothing", f"must be a known smoothing, got {message.smoothing}")
    return _SMOOTHINGS[message.smoothing]


def _features(request: AnyRequest) -> frozenset[str]:
    if request.overflow not in v1.ContextOverflow.values():
        raise invalid("overflow", f"must be a known way to treat long prompts, got {request.overflow}")
    named = {"chat": request.WhichOneof("input") == "chat", "adapter": bool(request.adapter)}
    return frozenset(name for name, is_set in named.items() if is_set)


def _ngram(request: Request, model: str, traits: Traits) -> NgramOptions:
    if traits.order is None:
        raise unsupported(f"ngram: model {model!r} is not an n-gram model")
    order = traits.order if request.order is None else request.order
    if order > traits.order:
        raise invalid("ngram.order", f"must be in 1..{traits.order} for model {model!r}, got {order}")
    if request.smoothing not in traits.smoothings:
        known = ", ".join(sorted(smoothing.value for smoothing in traits.smoothings))
        raise unsupported(
            f"ngram.smoothing: model {model!r} offers {known} and not {request.smoothing.value}"
        )
    return NgramOptions(order, request.smoothing)


def _check_ids(field: str, ids: Iterable[int], size: int) -> None:
    beyond = next((symbol for symbol in ids if symbol >= size), None)
    if beyond is not None:
        raise invalid(field, f"ids must be in 0..{size - 1}, got {beyond}")


def _check_reported(request: Request, prompt: Ids) -> None:
    """Refuse to gather more about positions than anyone could read, before any work is done for it."""
    positions = request.prompt_logprobs * len(prompt)
    positions += request.logprobs * request.best_of * request.stopping.max_tokens
    if positions * (1 + request.top) > REPORTED:
        asked = "per_token" if request.task is Task.SCORE else "prompt_logprobs"
        raise invalid(
            "top_logprobs" if request.top else "logprobs" if request.logprobs else asked,
            f"a request may ask for at most {REPORTED} positions and alternatives, "
            f"got {positions} x {1 + request.top}",
        )


def _within(field: str, value: int, low: int, high: int, unit: str = "") -> int:
    if not low <= value <= high:
        raise invalid(field, f"must be in {low}..{high}{unit and ' ' + unit}, got {value}")
    return value


def _number(
    field: str, value: float, low: float, high: float, *, above: bool = False, below: bool = False
) -> float:
    """``value`` in low..high; ``above`` and ``below`` leave the end out. NaN is in no range."""
    if low <= value <= high and not (above and value == low) and not (below and value == high):
        return value
    ends = (
        f"{'(' if above else '['}{low}, {high}{')' if below else ']'}" if above or below else f"{low}..{high}"
    )
    raise invalid(field, f"must be a finite number in {ends}, got {value}")
