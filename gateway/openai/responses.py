"""``/v1/responses``: the newer form of a conversation, for texts. Nothing is kept between calls."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.caller import Caller
from gateway.openai.answer import Answer, Events
from gateway.openai.body import Body, Count
from gateway.openai.drawn import drawn, finish_reason, pieces, schema_text
from pequod.common.v1 import Usage
from pequod.sampler import v1

_ROLES = {"developer": "system"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class SaidPart(_Part):
    """A piece of a message."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] = Field(default_factory=list)
    logprobs: list[Any] = Field(default_factory=list)


class Item(_Part):
    """A message; also one that an earlier response had as its output."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[SaidPart]
    id: str = ""
    status: str = ""
    phase: str | None = None

    @property
    def text(self) -> str:
        """All that is said."""
        return self.content if isinstance(self.content, str) else "".join(each.text for each in self.content)


class Form(_Part):
    """A form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema_: dict[str, Any] = Field(default_factory=lambda: {"type": "object"}, alias="schema")
    description: str = ""
    strict: bool = False


class TextOptions(_Part):
    """How the answer is written."""

    format: Form | None = None


class ResponseBody(Body):
    """A request. ``seed`` and ``adapter`` are our own fields."""

    refused: ClassVar = {
        "tools": "models here call no tools; ask for an answer in a form with text.format",
        "tool_choice": "models here call no tools",
        "previous_response_id": "responses are not kept: send the whole conversation as input",
        "conversation": "conversations are not kept: send the whole of it as input",
        "background": "an answer comes in the call that asks for it",
        "prompt": "there are no stored prompts",
        "reasoning": "models here do not reason apart from their answer",
    }

    input: Annotated[str | list[Item], Field(min_length=1)]
    instructions: str = ""
    max_output_tokens: Count | None = None
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    text: TextOptions | None = None
    stream: bool = False
    truncation: Literal["auto", "disabled"] = "disabled"
    parallel_tool_calls: bool = False
    include: list[str] = Field(default_factory=list, max_length=0)
    seed: int | None = Field(None, ge=0, lt=2**64)
    adapter: str = ""


def request_of(body: ResponseBody) -> v1.GenerateRequest:
    """The sampler's request."""
    request = v1.GenerateRequest(model=body.model, adapter=body.adapter)
    if body.instructions:
        request.chat.messages.add(role="system", content=body.instructions)
    items = [Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    for item in items:
        request.chat.messages.add(role=_ROLES.get(item.role, item.role), content=item.text)
    for name in ("temperature", "top_p", "seed"):
        if (value := getattr(body, name)) is not None:
            setattr(request.sampling, name, value)
    if body.max_output_tokens is not None:
        request.stopping.max_tokens = body.max_output_tokens
    if body.text and body.text.format and body.text.format.type != "text":
        request.structured.json_schema = schema_text(body.text.format.schema_)
    if body.truncation == "auto":
        request.overflow = v1.CONTEXT_OVERFLOW_SLIDE
    return request


async def responses(body: ResponseBody, caller: Caller) -> Answer:
    """Answer."""
    request = request_of(body)
    frame = _frame(body, caller.request_id)
    if body.stream:
        return Events(_events(frame, request, caller), named=True)
    reply = await drawn(request, caller)
    (said,) = reply.completions
    ended = finish_reason(said.finish_reason)
    return _ended(frame, _message(caller.request_id, said.text, ended), ended, reply.usage)


def _frame(body: ResponseBody, request_id: str) -> dict[str, Any]:
    form = body.text.format if body.text else None
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "model": body.model,
        "instructions": body.instructions or None,
        "max_output_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "truncation": body.truncation,
        "text": {"format": form.model_dump(by_alias=True) if form else {"type": "text"}},
        "output": [],
        "error": None,
        "incomplete_details": None,
        "metadata": {},
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
        "store": False,
        "usage": None,
    }


def _ended(frame: Mapping[str, Any], message: Any, ended: str | None, usage: Usage) -> dict[str, Any]:
    is_cut = ended == "length"
    return {
        **frame,
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": [message],
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def _message(request_id: str, text: str | None, ended: str | None) -> dict[str, Any]:
    """``text`` None: nothing is said yet."""
    status = {None: "in_progress", "length": "incomplete"}.get(ended, "completed")
    content = [] if text is None else [_part(text)]
    return {
        "type": "message",
        "id": f"msg_{request_id}",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def _events(
    frame: Mapping[str, Any], request: v1.GenerateRequest, caller: Caller
) -> AsyncIterator[dict[str, Any]]:
    """The whole ceremony of this API: each thing begins, grows and ends in events of its own."""
    numbers = count()
    item, place = f"msg_{caller.request_id}", {"output_index": 0}
    part = {**place, "item_id": item, "content_index": 0}

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

    said, ended, usage, has_begun = "", None, Usage(), False
    async for reply in pieces(request, caller):
        if not has_begun:
            has_begun = True
            yield event("created", response=frame)
            yield event("in_progress", response=frame)
            yield event("output_item.added", **place, item=_message(caller.request_id, None, None))
            yield event("content_part.added", **part, part=_part(""))
        if reply.text:
            said += reply.text
            yield event("output_text.delta", **part, delta=reply.text, logprobs=[])
        ended = finish_reason(reply.finish_reason) or ended
        usage = reply.usage if reply.HasField("usage") else usage
    message = _message(caller.request_id, said, ended)
    yield event("output_text.done", **part, text=said, logprobs=[])
    yield event("content_part.done", **part, part=_part(said))
    yield event("output_item.done", **place, item=message)
    whole = _ended(frame, message, ended, usage)
    yield event("incomplete" if ended == "length" else "completed", response=whole)
