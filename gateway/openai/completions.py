"""``/v1/completions``: text that goes on from a prompt, or from each of several."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import accumulate
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gateway.caller import Caller, together
from gateway.openai.answer import Answer, Events
from gateway.openai.body import Count, TokenId
from gateway.openai.drawn import (
    Sampled,
    base_request,
    drawn,
    fingerprint,
    finish_reason,
    logprob,
    pieces,
    usage_of,
)
from pequod.common.v1 import TokenIds, Usage
from pequod.sampler import v1
from services.common.errors import invalid

MOST_PROMPTS = 64
_SEED_BITS = 32
_USUAL_TOKENS = 16
"""As in OpenAI's API."""

Prompt = str | list[int]


class CompletionBody(Sampled):
    """A request."""

    refused: ClassVar = {"suffix": "models here only write on, they insert nothing"}

    prompt: str | Annotated[list[str] | list[TokenId] | list[list[TokenId]], Field(min_length=1)] = ""
    max_tokens: Count | None = None
    best_of: int | None = Field(None, ge=1, le=32)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=50)


def prompts_of(body: CompletionBody) -> list[Prompt]:
    """Each prompt. Raises INVALID_ARGUMENT for too many."""
    given = body.prompt
    if isinstance(given, str) or isinstance(given[0], int):
        return [given]
    if len(given) > MOST_PROMPTS:
        raise invalid("prompt", f"holds {len(given)} prompts, at most {MOST_PROMPTS} can be given")
    return list(given)


def request_of(body: CompletionBody, prompt: Prompt) -> v1.GenerateRequest:
    """The sampler's request for one of the prompts."""
    request = base_request(body, body.max_tokens or _USUAL_TOKENS)
    if isinstance(prompt, str):
        request.prompt = prompt
    else:
        request.prompt_ids.CopyFrom(TokenIds(ids=prompt))
    request.best_of = body.best_of or 0
    request.echo = body.echo
    request.logprobs = body.logprobs is not None
    request.top_logprobs = body.logprobs or 0
    request.prompt_logprobs = body.echo and body.logprobs is not None
    return request


async def completions(body: CompletionBody, caller: Caller) -> Answer:
    """Write on."""
    requests = [request_of(body, prompt) for prompt in prompts_of(body)]
    if body.seed is None and len(requests) > 1:  # the one seed that is told makes all of them again
        drawn_seed = secrets.randbits(_SEED_BITS)
        for request in requests:
            request.sampling.seed = drawn_seed
    head = {"id": f"cmpl-{caller.request_id}", "object": "text_completion", "created": int(time.time())}
    head["model"] = body.model
    if body.stream:
        return Events(_chunks(head, requests, body, caller))
    replies = await together(drawn(request, caller) for request in requests)
    return {
        **head,
        "system_fingerprint": fingerprint(replies[0].usage),
        "choices": [
            _choice(place * (body.n or 1) + each.index, each, body, reply.prompt_tokens)
            for place, reply in enumerate(replies)
            for each in reply.completions
        ],
        "usage": usage_of(_total(reply.usage for reply in replies)),
        "seed": replies[0].seed,
    }


async def _chunks(
    head: dict[str, Any], requests: Sequence[v1.GenerateRequest], body: CompletionBody, caller: Caller
) -> AsyncIterator[dict[str, Any]]:
    """One prompt after the other."""
    frame = head | ({"usage": None} if body.sends_usage else {})
    used: list[Usage] = []
    for place, request in enumerate(requests):
        offsets: dict[int, int] = {}
        async for reply in pieces(request, caller):
            if reply.HasField("usage"):
                used.append(reply.usage)
            if reply.text or reply.tokens or reply.finish_reason:
                index = place * (body.n or 1) + reply.index
                before = offsets.get(reply.index, 0)
                offsets[reply.index] = before + len(reply.text)
                yield frame | {"choices": [_choice(index, reply, body, reply.prompt_tokens, before)]}
    if body.sends_usage:
        yield frame | {"choices": [], "usage": usage_of(_total(used))}


def _choice(index: int, said: Any, body: CompletionBody, prompt: Any, before: int = 0) -> dict[str, Any]:
    """``said``: a completion, or a piece of one that ``before`` characters came before."""
    logprobs = None if body.logprobs is None else _logprobs([*prompt, *said.tokens], before)
    finish = finish_reason(said.finish_reason)
    return {"index": index, "text": said.text, "logprobs": logprobs, "finish_reason": finish}


def _logprobs(tokens: Sequence[v1.ScoredToken], before: int) -> dict[str, Any]:
    """Lists beside each other, as this older endpoint has them."""
    texts = [each.token.text for each in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [logprob(each.token) for each in tokens],
        "top_logprobs": [{other.text: logprob(other) for other in each.top} for each in tokens],
        "text_offset": list(accumulate(map(len, texts), initial=before))[:-1],
    }


def _total(parts: Iterable[Usage]) -> Usage:
    total = Usage()
    for each in parts:
        total.input_tokens += each.input_tokens
        total.output_tokens += each.output_tokens
        total.cached_tokens += each.cached_tokens
    return total
