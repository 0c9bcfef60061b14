"""Requests that are no message: refused as the caller's mistake, with the field that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.common.errors import ServiceError, invalid

_LENGTH_DELIMITED = 2


@dataclass(frozen=True)
class Undecodable:
    """Stands where a request would: grpc answers INTERNAL when a deserializer raises."""

    error: ServiceError


def tolerant(deserializer: Callable[[bytes], Message] | None) -> Any:
    """``deserializer``, giving Undecodable for bytes that are no message of its type."""
    if deserializer is None:
        return None

    def deserialize(data: bytes) -> Message | Undecodable:
        try:
            return deserializer(data)
        except DecodeError:
            return Undecodable(malformed(data, getattr(deserializer, "__self__", None)))

    return deserialize


def checked(request: Any) -> Any:
    """``request``, when it was decoded. Raises INVALID_ARGUMENT when not."""
    if isinstance(request, Undecodable):
        raise request.error
    return request


async def checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """``requests``, each decoded."""
    async for request in requests:
        yield checked(request)


def malformed(data: bytes, message_class: Any) -> ServiceError:
    """INVALID_ARGUMENT for bytes that do not parse; names the string that is not UTF-8, if one is."""
    path = None if message_class is None else _bad_string(data, message_class.DESCRIPTOR)
    if path is None:
        return invalid("request", "is no valid protobuf message of its type")
    return invalid(path, "is not valid UTF-8")


def _bad_string(data: bytes, descriptor: Descriptor) -> str | None:
    """Path of the first string field whose bytes are not UTF-8. Empty keeps every field as unknown."""
    shell = Empty()
    try:
        shell.ParseFromString(data)
    except DecodeError:
        return None
    fields: Any = UnknownFieldSet(shell)  # its stubs leave out that it can be iterated
    for field in fields:
        known = descriptor.fields_by_number.get(field.field_number)
        if known is None or field.wire_type != _LENGTH_DELIMITED:
            continue
        inner = _bad_field(field.data, known)
        if inner is not None:
            return inner
    return None


def _bad_field(data: bytes, field: FieldDescriptor) -> str | None:
    if field.type == FieldDescriptor.TYPE_STRING:
        return None if _is_utf8(data) else field.name
    if field.message_type is not None:
        inner = _bad_string(data, field.message_type)
        return None if inner is None else f"{field.name}.{inner}"
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
