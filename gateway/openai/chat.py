"""``/v1/chat/completions``: conversations, by the model's own chat template."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.caller import Caller
from gateway.openai.answer import Answer, Events
from gateway.openai.body import Count
from gateway.openai.drawn import (
    Sampled,
    base_request,
    drawn,
    fingerprint,
    finish_reason,
    logprob,
    pieces,
    schema_text,
    usage_of,
)
from pequod.sampler import v1

_ROLES = {"developer": "system"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Part):
    """A piece of a message; other kinds than text are refused."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """All that is said."""
        return self.content if isinstance(self.content, str) else "".join(each.text for each in self.content)


class JsonSchema(_Part):
    """A form by its schema."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(_Part):
    """A form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(Sampled):
    """A request."""

    refused: ClassVar = {
        "tools": "models here call no tools; ask for an answer in a form with response_format",
        "tool_choice": "models here call no tools",
        "functions": "models here call no functions",
        "function_call": "models here call no functions",
        "parallel_tool_calls": "models here call no tools",
        "audio": "there is no model of sounds",
        "prediction": "predicted outputs are not used",
        "web_search_options": "nothing is looked up",
    }

    messages: list[Message] = Field(min_length=1, max_length=1024)
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=50)
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None


def request_of(body: ChatBody) -> v1.GenerateRequest:
    """The sampler's request. Raises INVALID_ARGUMENT naming the field."""
    request = base_request(body, body.max_completion_tokens or body.max_tokens)
    for message in body.messages:
        request.chat.messages.add(role=_ROLES.get(message.role, message.role), content=message.text)
    request.logprobs = body.logprobs
    request.top_logprobs = body.top_logprobs or 0
    form = body.response_format
    if form is not None and form.type != "text":
        schema = form.json_schema.schema_ if form.json_schema else {"type": "object"}
        request.structured.json_schema = schema_text(schema)
    return request


async def chat(body: ChatBody, caller: Caller) -> Answer:
    """Answer a conversation."""
    request = request_of(body)
    head = {"id": f"chatcmpl-{caller.request_id}", "created": int(time.time()), "model": body.model}
    if body.stream:
        return Events(_chunks(head, request, body, caller))
    reply = await drawn(request, caller)
    return {
        **head,
        "object": "chat.completion",
        "system_fingerprint": fingerprint(reply.usage),
        "choices": [
            {
                "index": each.index,
                "message": {"role": "assistant", "content": each.text, "refusal": None},
                "logprobs": _logprobs(each.tokens) if body.logprobs else None,
                "finish_reason": finish_reason(each.finish_reason),
            }
            for each in reply.completions
        ],
        "usage": usage_of(reply.usage),
        "seed": reply.seed,
    }


async def _chunks(
    head: dict[str, Any], request: v1.GenerateRequest, body: ChatBody, caller: Caller
) -> AsyncIterator[dict[str, Any]]:
    frame = {**head, "object": "chat.completion.chunk"}
    if body.sends_usage:
        frame["usage"] = None
    begun: set[int] = set()
    async for reply in pieces(request, caller):
        if reply.index not in begun:
            begun.add(reply.index)
            yield frame | _choice(reply.index, {"role": "assistant", "content": "", "refusal": None})
        finish = finish_reason(reply.finish_reason)
        if reply.text or reply.tokens:
            logprobs = _logprobs(reply.tokens) if body.logprobs else None
            yield frame | _choice(reply.index, {"content": reply.text}, logprobs)
        if finish:
            yield frame | _choice(reply.index, {}, finish=finish)
        if body.sends_usage and reply.HasField("usage"):
            yield frame | {"choices": [], "usage": usage_of(reply.usage)}


def _choice(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> Any:
    return {"choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]}


def _logprobs(tokens: Any) -> dict[str, Any]:
    content = [
        {**_token(each.token), "top_logprobs": [_token(other) for other in each.top]} for each in tokens
    ]
    return {"content": content, "refusal": None}


def _token(token: v1.TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": logprob(token), "bytes": list(token.piece)}
