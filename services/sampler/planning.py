"""Plans requests: what a sound request asks of one model, or why that model cannot do it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from services.common.errors import invalid, unsupported
from services.sampler.engine import Adapter, Form, Traits
from services.sampler.ngrams.alphabet import Alphabet, Ids
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.request import Question, Request, Source
from services.sampler.sequence import Plan, Stopping, Task

REPORTED = 100_000
"""Positions and alternatives that a request may ask for: some 15 MB while they wait to be sent."""

LOOKED_AT = 1024
"""Tokens of a prompt that may be looked into: attention grows with their square."""


def plan(
    request: Request, model: str, traits: Traits, alphabet: Alphabet, adapter: Adapter | None = None
) -> Plan:
    """What ``request`` asks of a model with these traits, in that model's symbols; ``adapter`` is its own."""
    check_features(request, model, traits)
    if adapter is not None and traits.adapters is not None:
        traits.adapters.admit(adapter)
    size = traits.vocabulary_size
    _check_ids("sampling.logit_bias", (symbol for symbol, _ in request.sampling.logit_bias), size)
    _check_ids("stopping.stop_ids", request.stopping.stop_ids, size)
    _check_ids(request.source.field, request.source.ids, size)
    prompt = _prompt(request, traits, alphabet)
    stopping = request.stopping
    if traits.window is not None:
        prompt, stopping = _fit(request, prompt, traits.window)
        stopping = replace(stopping, eos=frozenset() if request.ignore_eos else traits.eos)
    planned = Plan(
        task=request.task,
        prompt=prompt,
        ngram=_ngram(request, model, traits) if traits.is_ngram else None,
        sampling=request.sampling,
        stopping=stopping,
        seed=request.seed,
        logprobs=request.logprobs,
        likelihood=request.likelihood,
        prompt_logprobs=request.prompt_logprobs,
        top=request.top,
        rows=request.rows,
        form=_form(request, traits),
        adapter=adapter,
    )
    _check_reported(request, planned)
    return planned


def plan_look(question: Question, model: str, traits: Traits, alphabet: Alphabet) -> tuple[Ids, Ids]:
    """The ids of the prompt that ``question`` asks about, and the positions whose attention it wants."""
    if traits.is_ngram:
        return np.empty(0, np.int64), np.empty(0, np.int64)  # the engine says why it cannot look
    source = question.source
    _check_chat(source, model, traits)
    if question.adapter:
        raise unsupported("adapter: looking inside a model with an adapter is not supported")
    _check_ids(source.field, source.ids, traits.vocabulary_size)
    ids = _encode(source, traits, alphabet)
    _check_begins(source, ids)
    longest = min(traits.window or LOOKED_AT, LOOKED_AT)
    if ids.size > longest:
        raise invalid(source.field, f"may have at most {longest} tokens to be inspected, got {ids.size}")
    beyond = next((place for place in question.positions if place >= ids.size), None)
    if beyond is not None:
        raise invalid("positions", f"must be in 0..{ids.size - 1}, got {beyond}")
    if beyond_layer := next((layer for layer in question.layers if layer > traits.layers), 0):
        raise invalid("layers", f"must be in 0..{traits.layers}, got {beyond_layer}")
    chosen = question.positions or range(ids.size)
    return ids, np.array(chosen if question.attention else (), np.int64)


def check_features(request: Request, model: str, traits: Traits) -> None:
    """Refuse fields that this model does not understand. FAILED_PRECONDITION, UNSUPPORTED."""
    asked = {
        "chat": request.source.field == "chat",
        "adapter": request.adapter,
        "structured": request.structured,
    }
    if traits.is_ngram:
        for name in (name for name, is_set in asked.items() if is_set):
            raise unsupported(f"{name}: model {model!r} is an n-gram model and does not support it")
        return
    if request.ngram.given:
        raise invalid("ngram", f"is for n-gram models, and {model!r} is none")
    _check_chat(request.source, model, traits)
    if request.adapter and traits.adapters is None:
        raise unsupported(f"adapter: model {model!r} takes none here (PEQUOD_SAMPLER_ADAPTERS)")


def _check_chat(source: Source, model: str, traits: Traits) -> None:
    if source.field == "chat" and traits.chat is None:
        raise unsupported(f"chat: model {model!r} has no chat template; send a prompt instead")


def _form(request: Request, traits: Traits) -> Form | None:
    if request.structured is None or traits.forms is None:
        return None
    return traits.forms.compile(*request.structured)


def _prompt(request: Request, traits: Traits, alphabet: Alphabet) -> Ids:
    prompt = _encode(request.source, traits, alphabet)
    if not traits.is_ngram:
        _check_begins(request.source, prompt)
        if request.task is Task.SCORE and prompt.size < 2:
            field = request.source.field
            raise invalid(field, "must hold at least two tokens: the first one has nothing before it")
    return prompt


def _encode(source: Source, traits: Traits, alphabet: Alphabet) -> Ids:
    if source.messages and traits.chat is not None:
        return traits.chat.encode(source.messages)
    if source.ids:
        return np.array(source.ids, np.int64)
    return alphabet.encode(source.text)


def _check_begins(source: Source, prompt: Ids) -> None:
    if not prompt.size:
        raise invalid(source.field, "must hold at least one token: this model cannot begin from nothing")


def _fit(request: Request, prompt: Ids, window: int) -> tuple[Ids, Stopping]:
    """Prompt and stopping inside the window. Refused with the numbers, unless old tokens may be forgotten."""
    stopping, field, count = request.stopping, request.source.field, int(prompt.size)
    room = window - count
    if request.task is not Task.GENERATE:
        if room >= 0:
            return prompt, stopping
        if not request.slide or request.task is Task.SCORE:
            raise invalid(field, f"has {count} tokens; the model's context window is {window}")
        return prompt[-window:], stopping
    if request.slide:
        kept = window if room >= 0 else window // 2
        return prompt[-kept:], stopping
    if room < 1:
        raise invalid(
            field, f"has {count} tokens, which leave no room in the model's context window of {window}"
        )
    if request.max_tokens is not None and stopping.max_tokens > room:
        raise invalid(
            "stopping.max_tokens",
            f"must be in 1..{room}, got {stopping.max_tokens}: the prompt has {count} tokens "
            f"and the model's context window is {window}; overflow SLIDE forgets the oldest",
        )
    longest = min(stopping.max_tokens, room)
    return prompt, replace(stopping, max_tokens=longest, min_tokens=min(stopping.min_tokens, longest))


def _ngram(request: Request, model: str, traits: Traits) -> NgramOptions:
    asked, longest = request.ngram, traits.order
    assert longest is not None
    order = longest if asked.order is None else asked.order
    if order > longest:
        raise invalid("ngram.order", f"must be in 1..{longest} for model {model!r}, got {order}")
    if asked.smoothing not in traits.smoothings:
        known = ", ".join(sorted(smoothing.value for smoothing in traits.smoothings))
        raise unsupported(f"ngram.smoothing: model {model!r} offers {known} and not {asked.smoothing.value}")
    return NgramOptions(order, asked.smoothing)


def _check_ids(field: str, ids: Iterable[int], size: int) -> None:
    beyond = next((symbol for symbol in ids if symbol >= size), None)
    if beyond is not None:
        raise invalid(field, f"ids must be in 0..{size - 1}, got {beyond}")


def _check_reported(request: Request, planned: Plan) -> None:
    """Refuse to gather more about positions than anyone could read, before any work is done for it."""
    positions = request.prompt_logprobs * len(planned.prompt)
    positions += request.logprobs * request.best_of * planned.stopping.max_tokens
    if positions * (1 + request.top) > REPORTED:
        asked = "per_token" if request.task is Task.SCORE else "prompt_logprobs"
        raise invalid(
            "top_logprobs" if request.top else "logprobs" if request.logprobs else asked,
            f"a request may ask for at most {REPORTED} positions and alternatives, "
            f"got {positions} x {1 + request.top}",
        )
