"""What can be chosen about n-grams."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.options import among, within


@dataclass(frozen=True)
class Options:
    """How sequences are counted."""

    order: int = within(5, 1, 32)
    """N, the longest sequences counted."""
    alphabet: str = among("shannon", "shannon", "text")
