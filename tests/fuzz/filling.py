"""Messages made of any bytes: each byte decides something, so that whoever mutates bytes mutates fields."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message

_ABSENT = 96
"""First bytes of a field below this leave it out; where bytes end every field is left out."""
_DEEPEST = 5
_NUMBERS = (0, 1, 2, 16, 256, 1000, 1024, 2**20, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1)
_REALS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-30, 1e30, 1e308, float("nan"), float("inf"), float("-inf"), 100.0)
_RANGES = {
    Field.TYPE_INT32: (32, True),
    Field.TYPE_SINT32: (32, True),
    Field.TYPE_SFIXED32: (32, True),
    Field.TYPE_UINT32: (32, False),
    Field.TYPE_FIXED32: (32, False),
    Field.TYPE_INT64: (64, True),
    Field.TYPE_SINT64: (64, True),
    Field.TYPE_SFIXED64: (64, True),
    Field.TYPE_UINT64: (64, False),
    Field.TYPE_FIXED64: (64, False),
}


class Cursor:
    """Reads bytes from the front; zeros once there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def byte(self) -> int:
        return (self.take(1) or b"\0")[0]

    def number(self) -> int:
        choice = self.byte()
        return (
            _NUMBERS[choice % len(_NUMBERS)] if choice & 128 else int.from_bytes(self.take(choice % 9), "big")
        )

    def real(self) -> float:
        choice = self.byte()
        if choice & 128:
            return _REALS[choice % len(_REALS)]
        return float(struct.unpack("<f", self.take(4).ljust(4, b"\0"))[0]) if choice & 64 else choice / 32

    def blob(self) -> bytes:
        choice = self.byte()
        return self.take(choice) if choice < 250 else self.take(1) * 70_000

    def text(self, words: Sequence[bytes]) -> str:
        choice = self.byte()
        if choice & 1 and words:
            return words[choice % len(words)].decode(errors="replace")
        return self.blob().decode(errors="replace")


def message_of(data: bytes, kinds: Sequence[type[Message]], words: Sequence[bytes] = ()) -> Message | None:
    """A message of one of ``kinds``: what the bytes are on the wire, or what they are made into.

    None for bytes that are no message.
    """
    cursor = Cursor(data)
    kind = kinds[cursor.byte() % len(kinds)]
    if cursor.byte() & 1:
        try:
            return kind.FromString(data[2:])
        except DecodeError:
            return None
    message = kind()
    _fill(message, cursor, words, _DEEPEST)
    return message


def sent(message: Message, kinds: Sequence[type[Message]]) -> bytes:
    """The bytes of which ``message_of`` makes this message."""
    return bytes((kinds.index(type(message)), 1)) + message.SerializeToString()


def _fill(message: Message, cursor: Cursor, words: Sequence[bytes], depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        given = cursor.byte()
        if given < _ABSENT:
            continue
        if field.is_repeated:
            for _ in range(given % 4 if given < 250 else 40):
                _add(getattr(message, field.name), field, cursor, words, depth)
        elif field.type == Field.TYPE_MESSAGE:
            if depth:
                inner = getattr(message, field.name)
                inner.SetInParent()
                _fill(inner, cursor, words, depth - 1)
        else:
            setattr(message, field.name, _value(field, cursor, words))


def _add(container: Any, field: Field, cursor: Cursor, words: Sequence[bytes], depth: int) -> None:
    kind = field.message_type
    if kind is None:
        container.append(_value(field, cursor, words))
    elif kind.GetOptions().map_entry:
        key = _value(kind.fields_by_name["key"], cursor, words)
        value = kind.fields_by_name["value"]
        if value.message_type is None:
            container[key] = _value(value, cursor, words)
        elif depth:
            _fill(container[key], cursor, words, depth - 1)
    elif depth:
        _fill(container.add(), cursor, words, depth - 1)


def _value(field: Field, cursor: Cursor, words: Sequence[bytes]) -> Any:
    if field.type == Field.TYPE_STRING:
        return cursor.text(words)
    if field.type == Field.TYPE_BYTES:
        return cursor.blob()
    if field.type == Field.TYPE_BOOL:
        return bool(cursor.byte() & 1)
    if field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
        return cursor.real()
    if field.type == Field.TYPE_ENUM:
        return cursor.byte() % 12
    bits, signed = _RANGES[field.type]
    value = cursor.number() % 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value
