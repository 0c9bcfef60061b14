"""What the gateway reads of a request: the models it names. Its bytes go onward as they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from gateway.call import Call
from services.common.errors import Code, Reason, ServiceError, invalid
from services.common.rpc.decode import malformed

_NAMES_A_MODEL = frozenset({"model", "feature_model", "adapter", "upscaler", "ranker", "base"})
_DEEPEST = 2
_NAMED_FIRST = ("model",)
"""Where these are empty the service takes its usual model, which only it knows."""


async def first_message(call: Call) -> Message:
    """The request, or the first of a stream of them, decoded; the stream still begins with it.

    Raises INVALID_ARGUMENT for bytes that are no message of the method's type.
    """
    if call.message is None:
        call.message = _decoded(call, await _first_bytes(call))
    return call.message


async def models_in(call: Call) -> list[str]:
    """The names, without version and alias, of the models that ``call`` asks for.

    Raises INVALID_ARGUMENT where the service would choose: who may use some models must name one.
    """
    message = await first_message(call)
    fields = message.DESCRIPTOR.fields_by_name
    for name in _NAMED_FIRST:
        if name in fields and not getattr(message, name):
            raise invalid(name, "this key may use some models only: name one")
    named = list(_named(message, _DEEPEST))
    if call.method.path.endswith("/SetAlias"):
        named.append(getattr(message, "name"))  # noqa: B009  (no type checker knows the message)
    return [plain(each) for each in named]


def plain(reference: str) -> str:
    """A model reference without version, alias or revision."""
    if reference.startswith(("hf:", "file:")):
        return reference.partition("@")[0]
    return reference.partition("@")[0].partition(":")[0]


async def _first_bytes(call: Call) -> bytes:
    if isinstance(call.request, bytes):
        return call.request
    requests = aiter(call.request)
    try:
        async with asyncio.timeout(max(0.0, call.deadline - time.monotonic())):
            first = await anext(requests, None)
    except TimeoutError:
        what = "the deadline passed before the first message came"
        raise ServiceError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE, what) from None
    call.request = _again(first, requests)
    return first or b""


async def _again(first: bytes | None, rest: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
        async for each in rest:
            yield each


def _decoded(call: Call, data: bytes) -> Message:
    try:
        return call.method.request_type.FromString(data)
    except DecodeError:
        raise malformed(data, call.method.request_type) from None


def _named(message: Message, depth: int) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.name in _NAMES_A_MODEL and isinstance(value, str):
                yield value
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth:
            several = [value] if isinstance(value, Message) else value
            for each in several:
                if isinstance(each, Message):
                    yield from _named(each, depth - 1)
