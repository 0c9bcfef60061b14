"""The contract between the scheduler and what runs a model: n-grams today, transformers in their own file."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from typing import Protocol

from services.sampler.ngrams.alphabet import Alphabet
from services.sampler.ngrams.chain import Smoothing
from services.sampler.sequence import Output, Sequence


@dataclass(frozen=True)
class Traits:
    """What a model can be asked, for requests to be checked against."""

    vocabulary_size: int
    order: int | None = None
    """The largest N of an n-gram model; None for other models."""
    smoothings: frozenset[Smoothing] = field(default_factory=frozenset)
    features: frozenset[str] = field(default_factory=frozenset)
    """Request fields that not every model understands and this one does: "chat", "structured", "adapter"."""


class Engine(Protocol):
    """Advances sequences of one model. All calls come one at a time, never from two threads at once."""

    name: str
    """The model's name, for metrics."""
    alphabet: Alphabet
    traits: Traits

    def step(self, sequences: Rows[Sequence]) -> list[Output]:
        """Advance each sequence by at least one symbol or one part of its prompt; one output each, in order.

        A sequence that fails says so in its own output and disturbs no other. Bounded in time, so that
        the scheduler can let sequences join and leave often.
        """
        ...

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended or whose caller left; unknown ones are ignored."""
        ...
