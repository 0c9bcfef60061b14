"""What the engine asks of an n-gram model: a Markov chain over contexts, read at one order."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from services.sampler.ngrams.alphabet import Alphabet, Ids

S = TypeVar("S", bound=Hashable)
Floats = npt.NDArray[np.float64]


class Smoothing(enum.Enum):
    """How unseen sequences are treated."""

    BACKOFF = "back-off"
    KNESER_NEY = "Kneser-Ney"


@dataclass(frozen=True)
class NgramOptions:
    """How one request reads an n-gram model."""

    order: int
    smoothing: Smoothing = Smoothing.BACKOFF


@dataclass(frozen=True, eq=False, slots=True)
class Following:
    """What may follow a context. ``symbols`` ascend, probabilities are above 0 and sum to 1."""

    symbols: Ids
    counts: Ids
    """Times each symbol followed the context in the corpus; 0 for one that smoothing alone allows."""
    probabilities: Floats
    context_used: int
    """Symbols of context that were found, after back-off."""
    context_count: int
    """Times that context occurs in the corpus."""


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """How likely each symbol of a text was, one entry a position."""

    probabilities: Floats
    contexts_used: Ids


class Chain(Protocol[S]):
    """A model read at one order and smoothing. A state is the context that a prediction rests on:
    the longest suffix of the last N-1 symbols that was seen and has a successor."""

    def start(self, ids: Ids) -> S:
        """The state after ``ids``, which may be empty; an UNKNOWN id breaks the context."""
        ...

    def following(self, state: S) -> Following:
        """The distribution of the next symbol."""
        ...

    def advance(self, state: S, symbol: int) -> S:
        """The state after one more symbol."""
        ...

    def score(self, ids: Ids, begin: int, end: int) -> Scores:
        """The probability of each of ``ids[begin:end]`` given all before it; 0 where it is impossible."""
        ...


class NgramModel(Protocol):
    """A loaded n-gram model, whatever it counts with."""

    alphabet: Alphabet
    order: int
    """The largest N it can be read at, and the default."""
    smoothings: frozenset[Smoothing]
    block: int
    """Symbols to draw in one turn, at least 8: well under a millisecond's worth of them."""

    def chain(self, options: NgramOptions) -> Chain[Any]:
        """The model read at an order of 1..``self.order``."""
        ...
