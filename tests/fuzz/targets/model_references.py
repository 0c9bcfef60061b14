"""References, names, aliases and page tokens, as ModelService and every request reads them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from gateway.request import plain
from services.common.rpc.paging import page_of
from services.common.store import ModelVersion
from services.common.store.manifest import read_manifest
from services.common.store.reference import check_alias, check_path, check_version, parse_reference
from services.common.tenants import tenant_of
from tests.fuzz.known import root

REFUSALS = ()
WORDS = (
    *rb"""
        hf: file: @production :1 .. / owner/name@main Z3B0MgoxMA==
    """.split(),
    *(b"\0",),
)


def run(data: bytes) -> None:
    kind, text = data[:1], data[1:].decode(errors="replace")
    if kind == b"r":
        parsed = parse_reference(text)
        assert bool(parsed.name) + bool(parsed.repo) + bool(parsed.path) == 1
        assert ".." not in (parsed.name, *parsed.path.split("/"), *parsed.repo.split("/"))
        plain(text)
    elif kind == b"p":
        assert not check_path(text).startswith("/")
    elif kind == b"t":
        page_of(_versions(), 10, text)
    elif kind == b"v":
        check_version(text)
    else:
        check_alias(text)
        tenant_of(text)


@cache
def _versions() -> list[ModelVersion]:
    files = sorted((root() / "models").glob("*/*/model.json"))
    return [ModelVersion(read_manifest(each.read_bytes(), str(each)), "shipped") for each in files]


def seeds() -> Iterable[bytes]:
    yield from (b"rstoryteller", b"rname@production", b"rname:1.2", b"rhf:owner/name@main", b"rfile:/data/m")
    yield from (b"punet/a.json", b"tZ3B0MgoxMA==", b"v1.2", b"aproduction")
