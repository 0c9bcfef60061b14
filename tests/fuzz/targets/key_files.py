"""The file of keys, and keys as callers show them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gateway.keys.key import id_in
from gateway.keys.keyfile import KeyFileError, read_keys, read_secret
from gateway.keys.ring import KeyRing

REFUSALS = (KeyFileError,)
WORDS = tuple(
    rb"""
        "keys" "id" "name" "tenant" "digest" "groups" "text" "models" "limits" "created"
        "requests_per_minute" "expires" "priority" "low" pq_ 1e999 9999-12-31T23:59:59+23:59
    """.split()
)
_ID = "0123456789ab"


def run(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    file = _folder() / "keys.json"
    file.write_bytes(content)
    if kind == b"s":
        read_secret(file)
    elif kind == b"k":
        text = content.decode(errors="replace")
        id_in(text)
        KeyRing(None, file).find(text)
    else:
        read_keys(file)
        (_folder() / "secret").write_bytes(b"s" * 64)
        KeyRing(file, _folder() / "secret").find(f"pq_{_ID}_{'a' * 43}")


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp())


def seeds() -> Iterable[bytes]:
    key = f'{{"id": "{_ID}", "name": "shop", "tenant": "acme", "digest": "{"0" * 64}"'
    key += ', "created": "2025-01-01T00:00:00Z"'
    yield f'f{{"keys": [{key}}}]}}'.encode()
    more = '"groups": ["text"], "limits": {"requests_per_minute": 5}, "expires": "2030-01-01T00:00:00Z"'
    yield f'f{{"keys": [{key}, {more}, "priority": "low"}}]}}'.encode()
    yield f"kpq_{_ID}_{'a' * 43}".encode()
    yield b"s" + b"0" * 64
