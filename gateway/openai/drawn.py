"""Fields that chat and completions share, and what the sampler makes of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.caller import Caller
from gateway.openai import adapters
from gateway.openai.body import Body, Count
from pequod.common.v1 import Usage
from pequod.sampler import v1
from services.common.errors import invalid

GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
GENERATE_STREAM = "/pequod.sampler.v1.SamplerService/GenerateStream"
_FINISHED: dict[int, str] = {v1.FINISH_REASON_LENGTH: "length"}
_LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot say, as in OpenAI's API."""
R = TypeVar("R", v1.GenerateRequest, v1.GenerateStreamRequest)
_SEEDS = 2**64
_DIGITS = 10
"""Of the largest token id."""


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class Sampled(Body):
    """How text is drawn. The last six fields are our own."""

    n: int | None = Field(None, ge=1, le=16)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=_SEEDS)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    top_k: int | None = Field(None, ge=0, lt=2**32)
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    min_tokens: int | None = Field(None, ge=0, lt=2**32)
    order: Count | None = None
    adapter: str = ""

    @property
    def sends_usage(self) -> bool:
        """Whether a stream ends with what it used."""
        return self.stream_options is not None and self.stream_options.include_usage


def base_request(body: Sampled, max_tokens: int | None) -> v1.GenerateRequest:
    """All but the prompt. Raises INVALID_ARGUMENT for a bias of what is no token."""
    request = v1.GenerateRequest(model=body.model, n=body.n or 0, adapter=body.adapter)
    sampling = request.sampling
    for name in (
        *("temperature", "top_p", "top_k", "min_p"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty"),
    ):
        if (value := getattr(body, name)) is not None:
            setattr(sampling, name, value)
    for token, bias in (body.logit_bias or {}).items():
        if not (token.isascii() and token.isdigit() and len(token) <= _DIGITS and int(token) < 2**32):
            raise invalid("logit_bias", f"{token[: _DIGITS + 10]!r} is no token id")
        sampling.logit_bias[int(token)] = bias
    if body.seed is not None:
        sampling.seed = body.seed % _SEEDS
    if max_tokens is not None:
        request.stopping.max_tokens = max_tokens
    request.stopping.min_tokens = body.min_tokens or 0
    request.stopping.stop.extend([body.stop] if isinstance(body.stop, str) else body.stop or ())
    if body.order is not None:
        request.ngram.order = body.order
    return request


async def drawn(request: v1.GenerateRequest, caller: Caller) -> v1.GenerateResponse:
    """The sampler's reply."""
    reply: v1.GenerateResponse = await adapters.one(GENERATE, request, _adapted, caller)
    return reply


def pieces(request: v1.GenerateRequest, caller: Caller) -> AsyncGenerator[v1.GenerateStreamResponse, None]:
    """The sampler's replies as they come."""
    return adapters.many(GENERATE_STREAM, streamed(request), _adapted, caller)


def _adapted(request: R, base: str) -> R:
    """Raises INVALID_ARGUMENT for a second adapter: there is one place for one."""
    if request.adapter:
        raise invalid("adapter", f"{request.model} is an adapter already, got {request.adapter} beside it")
    changed = type(request)()
    changed.CopyFrom(request)
    changed.model, changed.adapter = base, request.model
    return changed


def streamed(request: v1.GenerateRequest) -> v1.GenerateStreamRequest:
    """The same as a stream; the fields of both have the same numbers."""
    return v1.GenerateStreamRequest.FromString(request.SerializeToString())


def finish_reason(reason: int) -> str | None:
    """OpenAI's word; None while a completion goes on."""
    return _FINISHED.get(reason, "stop") if reason else None


def logprob(token: v1.TokenLogprob) -> float:
    """A number that JSON can say."""
    return max(token.logprob, _LEAST_LOGPROB)


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def fingerprint(usage: Usage) -> str | None:
    """What answered: with the same one, the same seed gives the same text."""
    return f"{usage.model}:{usage.version}" if usage.model else None


def schema_text(schema: Any) -> str:
    """A JSON Schema as the sampler takes it."""
    return json.dumps(schema, ensure_ascii=False)
