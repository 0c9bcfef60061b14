"""What can be chosen about vectors of words."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.options import within


@dataclass(frozen=True)
class Options:
    """How the vectors are trained; the defaults are those of the shipped ``words``."""

    dimensions: int = within(300, 1, 2000)
    window: int = within(5, 1, 100)
    """Words on either side that count as around."""
    min_count: int = within(5, 1, 1_000_000)
    """Rarer words are left out of the training."""
    negatives: int = within(10, 1, 100)
    """Words drawn at random against each word that was there."""
    sample: float = within(1e-4, 0.0, 1.0)
    """Frequency above which words are passed over at random."""
    epochs: int = within(8, 1, 1000)
    keep: int = within(20_000, 1, 10_000_000)
    """The commonest words, whose vectors are kept."""
    workers: int = 1
    seed: int = 1
