"""Forms that a text must have, by llguidance: JSON Schema, regular expression or Lark grammar.

Before each token the form says which may come; the bytes of the text then match the form whatever the model
wanted to say.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer

from services.common.errors import invalid
from services.sampler.engine import FormKind
from services.sampler.transformer.runner import Logits

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

_KEPT = 64
"""Compiled forms; a large schema takes up to a second."""
_COMPACT: JsonCompileOptions = {"whitespace_flexible": False}
"""Where JSON may have any white space, a weak model gives little else; x-guidance in a schema allows it."""


class Matcher:
    """Where one text stands in its form."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._mask = np.zeros(-(-vocabulary // 32), np.int32)

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next [vocabulary, rounded up to 32]; none when nothing can go on."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        return np.unpackbits(self._mask.view(np.uint8), bitorder="little").astype(np.bool_)

    def restrict(self, logits: Logits) -> Logits:
        """Logits [vocabulary] with -inf for every token that may not come."""
        return np.where(self.allowed()[: logits.size], logits, np.float32(-np.inf))

    def accept(self, token: int) -> None:
        """Go on past a token that was allowed."""
        self._matcher.consume_token(token)
        self._check()

    @property
    def is_complete(self) -> bool:
        """Whether the text has the form and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        """A form may turn out to be too complex on the way."""
        if self._matcher.is_error():
            raise invalid(
                "structured", f"cannot be followed further: {_first_line(self._matcher.get_error())}"
            )


class Form:
    """One compiled form, from which every sequence of a request starts."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def start(self) -> Matcher:
        """At the beginning of a text."""
        return Matcher(self._matcher.deep_copy(), self._vocabulary)


class Forms:
    """Compiles forms for one model's tokens, and keeps the latest. Safe to use from several threads."""

    def __init__(self, tokenizer: Path, vocabulary: int, eos: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._file, self._eos = tokenizer, sorted(eos)
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[tuple[FormKind, str], Form] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, kind: FormKind, text: str) -> Form:
        """The form that ``text`` describes. Raises INVALID_ARGUMENT with what is wrong with it."""
        with self._lock:
            found = self._kept.get((kind, text))
            if found is None:
                found = self._kept[kind, text] = self._compile(kind, text)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((kind, text))
            return found

    def _compile(self, kind: FormKind, text: str) -> Form:
        if self._tokenizer is None:
            self._tokenizer = LLTokenizer(
                str(self._file), n_vocab=self._vocabulary, eos_token=self._eos or None
            )
        field = f"structured.{kind.value}"
        try:
            matcher = LLMatcher(self._tokenizer, _grammar(kind, text), log_level=0)
        except ValueError as error:
            raise invalid(field, f"is no JSON: {_first_line(str(error))}") from None
        if matcher.is_error():
            raise invalid(field, f"cannot be used: {_first_line(matcher.get_error())}")
        form = Form(matcher, self._vocabulary)
        if not form.start().allowed().any():
            raise invalid(field, "is impossible: no text has this form")
        return form


def _grammar(kind: FormKind, text: str) -> str:
    if kind is FormKind.JSON_SCHEMA:
        json.loads(text)  # the library reads it inside a text of its own, and would tell places in that
        return str(LLMatcher.grammar_from_json_schema(text, _COMPACT))
    if kind is FormKind.REGEX:
        return str(LLMatcher.grammar_from_regex(text))
    return str(LLMatcher.grammar_from_lark(text))


def _first_line(text: str) -> str:
    return next((line for line in text.strip().splitlines() if line), "no reason given")[:300]
