"""Forms of output: JSON Schema, regular expressions and grammars, compiled and followed for some tokens."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from services.sampler.engine import FormKind
from services.sampler.request import FORM_CHARACTERS
from services.sampler.transformer.forms import Forms
from tests.fuzz.known import root

REFUSALS = ()
WORDS = (
    *rb"""
        "type" "object" "properties" "$ref" "#" "anyOf" "pattern" "required" "enum" "minItems"
        "maxLength" 100000 /a+/ {1,9} (?=a) [^a] %ignore | %json
    """.split(),
    *(b"start: ",),
)
_KINDS = (FormKind.JSON_SCHEMA, FormKind.REGEX, FormKind.GRAMMAR)
_FOLLOWED = 8


def run(data: bytes) -> None:
    kind = _KINDS[(data or b"\0")[0] % len(_KINDS)]
    text = data[1:].decode(errors="replace")[:FORM_CHARACTERS]
    forms = _forms()
    forms._kept.clear()
    matcher = forms.compile(kind, text).start()
    for _ in range(_FOLLOWED):
        allowed = np.flatnonzero(matcher.allowed())
        if matcher.is_complete or not allowed.size:
            return
        matcher.accept(int(allowed[len(data) % allowed.size]))


@cache
def _forms() -> Forms:
    return Forms(root() / "models/storyteller/1/tokenizer.json", 8192, frozenset({0}))


def seeds() -> Iterable[bytes]:
    yield b'\0{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    yield b'\0{"anyOf": [{"type": "string", "maxLength": 5}, {"enum": [1, null]}], "$ref": "#"}'
    yield b"\1[a-z]+(b|c){2,5}"
    yield b'\2start: "a" b\nb: /[0-9]+/ | "c"'
