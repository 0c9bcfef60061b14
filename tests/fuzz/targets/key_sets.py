"""JSON Web Key Sets of a file, as an identity provider publishes them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gateway.keys.settings import KeySettings
from gateway.keys.tokens import Tokens
from tests.fuzz.loops import awaited
from tests.fuzz.targets import tokens as made

REFUSALS = ()
WORDS = tuple(
    rb"""
        "keys" "kty" "OKP" "RSA" "EC" "oct" "crv" "Ed25519" "P-256" "x" "y" "n" "e" "kid" "k" "alg"
        "use" "sig" "AQAB" "HS256" [[[[ null
    """.split()
)


def run(data: bytes) -> None:
    file, tokens = _tokens()
    file.write_bytes(data)
    awaited(tokens.find(made._signed({"alg": "EdDSA", "kid": "k", "n": len(data)}, made._GOOD)))


@cache
def _tokens() -> tuple[Path, Tokens]:
    file = Path(tempfile.mkdtemp(), "jwks.json")
    file.write_text("{}")
    return file, _Forgetful(KeySettings(jwks=str(file), issuer="issuer", audience="audience"))


class _Forgetful(Tokens):
    """Remembers no token, so that the key set is read each time."""

    def _remember(self, *_: object) -> None:
        pass


def seeds() -> Iterable[bytes]:
    key = json.loads(made.OKPAlgorithm.to_jwk(made._key().public_key()))
    yield json.dumps({"keys": [key | {"kid": "k", "alg": "EdDSA"}]}).encode()
    yield json.dumps({"keys": [key | {"kid": "other"}, {"kty": "oct", "k": "AAAA", "kid": "k"}]}).encode()
    yield b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k"}]}'
    yield b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k"}]}'
