"""Places that callers name: imports, webhooks, and the addresses that names lead to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from services.common.web import is_public
from services.finetune.datasets.importing.opening import open_source
from services.finetune.datasets.importing.source import Allowed
from services.finetune.webhooks.addresses import Addresses

REFUSALS = (ValueError,)
WORDS = (
    *rb"""
        https:// http:// file:// s3:// localhost 127.0.0.1 [::1] [::ffff:10.0.0.1] @ # %2e%2e/ ..
        169.254.169.254 0x7f.1 2130706433 %00 :65536 xn-- /data/
    """.split(),
    *(b"\\",),
)
_ALLOWED = Allowed((Path("/data"),), ("https://", "s3://bucket/below"))


def run(data: bytes) -> None:
    kind, text = data[:1], data[1:].decode(errors="replace")
    if kind == b"w":
        if not Addresses(private=False).refusal(text):
            assert text.lower().startswith("https://")
            assert urlsplit(text).hostname
    elif kind == b"a":
        address = ipaddress.ip_address(text)
        assert not (is_public(address) and address.is_private)
    else:
        open_source(text, _ALLOWED)


def seeds() -> Iterable[bytes]:
    yield from (
        b"ihttps://example.com/a.zip",
        b"is3://bucket/below/a",
        b"ifile:///data/a",
        b"ihttps://u:p@h/a#b",
    )
    yield from (
        b"whttps://example.com:8443/hook?a=b",
        b"whttps://127.0.0.1/",
        b"whttps://[::1]/",
        b"whttp://h/",
    )
    yield from (b"a127.0.0.1", b"a::ffff:10.0.0.1", b"a64:ff9b::a00:1", b"a8.8.8.8")
