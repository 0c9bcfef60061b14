"""``scores`` of a version's configuration: what the discriminator says of known real and made images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.pictures.arrays import Array

KEY = "scores"


@dataclass(frozen=True, eq=False)
class References:
    """Percentiles of logits, evenly spaced: the first is the least, the last the greatest."""

    real: Array
    made: Array

    def percentiles(self, logit: float) -> tuple[float, float]:
        """Percent of the known real images, and of the made ones, that score lower."""
        return _percentile(self.real, logit), _percentile(self.made, logit)


def read(config: Mapping[str, Any]) -> References | None:
    """What a configuration has. Raises ValueError for percentiles that do not rise."""
    if KEY not in config:
        return None
    return References(*(_rising(name, config[KEY][name]) for name in ("real", "made")))


def _rising(name: str, values: Sequence[float]) -> Array:
    rising = np.asarray(values, np.float32)
    if rising.ndim != 1 or len(rising) < 2 or (np.diff(rising) < 0).any():
        raise ValueError(f"{KEY}.{name} are no rising percentiles")
    return rising


def _percentile(marks: Array, logit: float) -> float:
    """Between two marks in proportion; equal marks count to the first of them."""
    place = int(np.searchsorted(marks, logit, "left"))
    if place == 0:
        return 0.0
    if place == len(marks):
        return 100.0
    below, above = float(marks[place - 1]), float(marks[place])
    return 100.0 * (place - 1 + (logit - below) / (above - below)) / (len(marks) - 1)
