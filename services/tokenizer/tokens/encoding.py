"""The contract of an encoding: text to ids and back."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]


class Algorithm(enum.Enum):
    """How an encoding cuts text; the values stand in manifests."""

    BYTE_BPE = "byte_bpe"
    BPE = "bpe"
    WORDPIECE = "wordpiece"
    UNIGRAM = "unigram"
    WORD_LEVEL = "word_level"


@dataclass(frozen=True)
class Specials:
    """What becomes of special tokens. ``allowed``: those that count where the text spells them."""

    allowed: frozenset[str] = frozenset()
    around: bool = False
    """Add the tokens that the model's own template puts around a text."""


@dataclass(frozen=True)
class Tokens:
    """One text cut; ``starts`` and ``ends``, [tokens], are bytes of its UTF-8 when they were asked for."""

    ids: Sequence[int]
    starts: Offsets | None = None
    ends: Offsets | None = None


class Encoding(Protocol):
    """Immutable, so it may be used from several threads at once."""

    vocabulary_size: int
    special_tokens: Mapping[str, int]
    lossless: bool
    """Joined pieces give back any text byte for byte."""

    def encode(self, text: str, specials: Specials, offsets: bool) -> Tokens:
        """Cut ``text``."""
        ...

    def count(self, text: str, specials: Specials) -> int:
        """The number of tokens of ``text``."""
        ...

    def has(self, token: int) -> bool:
        """Whether the vocabulary holds this id; not every number below its size need be one."""
        ...

    def piece(self, token: int) -> bytes:
        """The exact bytes of a token in the vocabulary."""
        ...

    def decode(self, ids: Sequence[int], skip_special: bool) -> bytes:
        """The bytes that ``ids``, all in the vocabulary, stand for."""
        ...
