"""Bytes that are no message: each request type's own, told which field is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from google.protobuf.message import DecodeError, Message

from gateway.methods import method_table
from gateway.request import _named
from services.common.catalogue import SERVICES
from services.common.rpc.decode import checked, tolerant

REFUSALS = ()
WORDS = (b"\x0a", b"\x12", b"\xff\xff\xff\xff\x0f", b"\x80", b"\x0b", b"\x0c")


def run(data: bytes) -> None:
    kind = _kinds()[(data or b"\0")[0] % len(_kinds())]
    message = checked(tolerant(kind.FromString)(data[1:]))
    list(_named(message, 2))


@cache
def _kinds() -> list[type[Message]]:
    return [method.request_type for _, method in sorted(method_table(SERVICES).items())]


def seeds() -> Iterable[bytes]:
    for place, kind in enumerate(_kinds()):
        try:
            kind.FromString(b"\x0a\x03abc")
        except DecodeError:
            continue
        yield bytes((place,)) + b"\x0a\x03abc"
    yield b"\0\x0a\x02\xff\xfe"
    yield b"\0\x0a\xff"
