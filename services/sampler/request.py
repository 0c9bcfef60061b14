"""Checks requests: protobuf in, frozen dataclasses out, or an error naming field, value and limit."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from pequod.sampler import v1
from services.common.errors import invalid
from services.common.rpc.fields import reference
from services.sampler.engine import FormKind, Message
from services.sampler.ngrams.chain import Smoothing
from services.sampler.sampling import Sampling
from services.sampler.sequence import Stopping, Task

PROMPT_BYTES = 2**20
PROMPT_IDS = PROMPT_BYTES // 4
MESSAGES = 1024
FORM_CHARACTERS = 65536
POSITIONS = 1024
BIASES = 65536
ROLES = ("system", "user", "assistant")

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
    """What to continue or score: text, ids or messages, and the request's field that held it."""

    field: str
    text: str = ""
    ids: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Ngram:
    """Settings of n-gram models as asked for."""

    order: int | None = None
    smoothing: Smoothing = Smoothing.BACKOFF
    given: bool = False


@dataclass(frozen=True)
class Request:
    """A request whose values are sound; whether its model can do it is for ``planning`` to say."""

    task: Task
    source: Source
    sampling: Sampling
    stopping: Stopping
    ngram: Ngram
    adapter: str = ""
    structured: tuple[FormKind, str] | None = None
    """The form of the output, as written."""
    slide: bool = False
    """Forget the oldest tokens of a text that is too long, instead of refusing it."""
    max_tokens: int | None = None
    """As asked for; None where the default holds, which gives way to the model's window."""
    ignore_eos: bool = False
    seed: int = 0
    n: int = 1
    best_of: int = 1
    logprobs: bool = False
    likelihood: bool = True
    """Whether the reply says how likely each completion is."""
    prompt_logprobs: bool = False
    top: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Question:
    """What a request wants to see inside a model."""

    source: Source
    layers: frozenset[int]
    """States to report; empty: all."""
    top: int
    attention: bool
    positions: tuple[int, ...]
    """Whose attention; empty: of all."""
    embeddings: bool
    adapter: str = ""


def read_inspect(request: v1.InspectRequest) -> Question:
    """Check a request to see inside a model."""
    if request.positions and not request.attention:
        raise invalid("positions", "needs attention to be true")
    _within("positions", len(request.positions), 0, POSITIONS, "entries")
    _within("layers", len(request.layers), 0, POSITIONS, "entries")
    return Question(
        source=_source(request),
        layers=frozenset(request.layers),
        top=_within("top", request.top, 0, 50) or 5,
        attention=request.attention,
        positions=tuple(request.positions),
        embeddings=request.embeddings,
        adapter=reference("adapter", request.adapter),
    )


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
        ngram=_ngram(request),
        adapter=reference("adapter", request.adapter),
        structured=_structured(request.structured),
        slide=_slide(request),
        max_tokens=request.stopping.max_tokens if request.stopping.HasField("max_tokens") else None,
        ignore_eos=request.stopping.ignore_eos,
        seed=request.sampling.seed if request.sampling.HasField("seed") else secrets.randbits(53),
        n=n,
        best_of=best_of,
        logprobs=request.logprobs,
        likelihood=request.logprobs or isinstance(request, v1.GenerateRequest),
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
        ngram=_ngram(request),
        adapter=reference("adapter", request.adapter),
        slide=_slide(request),
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
        ngram=_ngram(request),
        adapter=reference("adapter", request.adapter),
        slide=_slide(request),
        prompt_logprobs=request.per_token,
        top=_within("top_logprobs", request.top_logprobs, 0, 50),
    )


def _source(request: AnyRequest | v1.InspectRequest) -> Source:
    """The input that is set. Sizes are limited here, before any model is touched."""
    field = request.WhichOneof("input")
    if field is None:
        kind = "text" if isinstance(request, v1.ScoreRequest) else "prompt"
        raise invalid(kind, f"one of {kind}, {kind}_ids and chat is required")
    if field == "chat":
        return Source(field, messages=_messages(request.chat))
    value = getattr(request, field)
    if isinstance(value, str):
        size = len(value.encode())
        if size > PROMPT_BYTES:
            raise invalid(field, f"must have at most {PROMPT_BYTES} bytes (1 MiB), got {size}")
        return Source(field, text=value)
    if len(value.ids) > PROMPT_IDS:
        raise invalid(field, f"must have at most {PROMPT_IDS} ids, got {len(value.ids)}")
    return Source(field, ids=tuple(value.ids))


def _messages(chat: v1.ChatMessages) -> tuple[Message, ...]:
    _within("chat.messages", len(chat.messages), 1, MESSAGES, "messages")
    for place, message in enumerate(chat.messages):
        if message.role not in ROLES:
            known = ", ".join(ROLES)
            raise invalid(f"chat.messages[{place}].role", f"must be one of {known}, got {message.role!r}")
    size = sum(len(message.content.encode()) for message in chat.messages)
    if size > PROMPT_BYTES:
        raise invalid("chat.messages", f"must have at most {PROMPT_BYTES} bytes (1 MiB), got {size}")
    return tuple(Message(message.role, message.content) for message in chat.messages)


def _sampling(message: v1.Sampling) -> Sampling:
    given = {field.name: value for field, value in message.ListFields()}
    default = Sampling()
    _within("sampling.logit_bias", len(message.logit_bias), 0, BIASES, "entries")

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


def _ngram(request: AnyRequest) -> Ngram:
    message = request.ngram
    if message.HasField("order") and message.order == 0:
        raise invalid("ngram.order", "must be at least 1, got 0")
    if message.smoothing not in _SMOOTHINGS:
        raise invalid("ngram.smoothing", f"must be a known smoothing, got {message.smoothing}")
    order = message.order if message.HasField("order") else None
    return Ngram(order, _SMOOTHINGS[message.smoothing], request.HasField("ngram"))


def _structured(message: v1.StructuredOutput) -> tuple[FormKind, str] | None:
    field = message.WhichOneof("form")
    if field is None:
        return None
    text = getattr(message, field)
    _within(f"structured.{field}", len(text), 1, FORM_CHARACTERS, "characters")
    return FormKind(field), text


def _slide(request: AnyRequest) -> bool:
    if request.overflow not in v1.ContextOverflow.values():
        raise invalid("overflow", f"must be a known way to treat long prompts, got {request.overflow}")
    return request.overflow == v1.CONTEXT_OVERFLOW_SLIDE


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
