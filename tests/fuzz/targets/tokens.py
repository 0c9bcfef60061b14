"""Signed tokens: any text as a token, and any claims and header under a good signature."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from gateway.keys.settings import KeySettings
from gateway.keys.tokens import Tokens
from tests.fuzz.loops import awaited

REFUSALS = ()
WORDS = tuple(
    rb"""
        "exp" "iss" "aud" "sub" "tenant" "scope" "nbf" "iat" "issuer" "audience" 9999999999 1e999 "alg"
        "none" "HS256" "EdDSA" "kid" "crit" "b64" pequod:all
    """.split()
)
_GOOD = (
    b'{"exp": 9999999999, "iss": "issuer", "aud": "audience", "sub": "me", "tenant": "acme", '
    b'"scope": "pequod:all"}'
)


def run(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    text = content.decode(errors="replace")
    if kind == b"s":
        text = _signed({"alg": "EdDSA", "kid": "k"}, content)
    elif kind == b"h":
        text = _signed(_header(content), _GOOD)
    principal = awaited(_tokens().find(text))
    assert kind == b"s" or principal.tenant == "acme"


def _header(content: bytes):
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        return {"alg": "EdDSA"}
    return header if isinstance(header, dict) else {"alg": "EdDSA"}


def _signed(header, claims: bytes) -> str:
    part = jwt.utils.base64url_encode
    what = part(json.dumps(header).encode()) + b"." + part(claims)
    return (what + b"." + part(_key().sign(what))).decode()


@cache
def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@cache
def _tokens() -> Tokens:
    public = json.loads(OKPAlgorithm.to_jwk(_key().public_key())) | {"kid": "k", "alg": "EdDSA"}
    file = Path(tempfile.mkdtemp(), "jwks.json")
    file.write_text(json.dumps({"keys": [public]}))
    return Tokens(KeySettings(jwks=str(file), issuer="issuer", audience="audience"))


def seeds() -> Iterable[bytes]:
    yield b"s" + _GOOD
    yield b't{"exp": 1}'
    yield b"t" + _signed({"alg": "EdDSA", "kid": "k"}, _GOOD).encode()
    yield b'h{"alg": "EdDSA", "kid": "k"}'
    yield b'h{"alg": "none", "kid": "k", "crit": ["b64"], "b64": false}'
    yield b"s" + _GOOD.replace(b'"audience"', b'["audience"]').replace(b'"pequod:all"', b'["pequod:text"]')
