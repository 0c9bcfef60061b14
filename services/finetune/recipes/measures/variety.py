"""How varied a set of points is beside a real one: all alike, kinds that are missing, the same twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.finetune.recipes.measures.sets import Points, coverage, nearest, radii

_CLOSE = 0.5
"""Nearer than this share of what is near among real points is the same once more."""


class Variety:
    """Real points to hold others against, and ``anchors`` [k, d], some of every kind there is."""

    def __init__(self, real: Points, anchors: Points) -> None:
        """Raises ValueError for fewer than four real points."""
        self._real, self._anchors = real, anchors
        self._spread = spread(real)
        self._kinds = entropy(nearest(real, anchors)[0])
        self._near = float(np.median(radii(real, 1))) * _CLOSE

    def of(self, made: Points) -> dict[str, float]:
        """Figures of points [n, d].

        ``spread``: mean distance of two, as a share of that of real ones. ``modes``: entropy of which anchor
        is nearest, as a share too (bins of Richardson and Weiss, 2018). ``duplicates``: share that have
        another one next to them (Arora and Zhang, 2018). ``precision`` and ``recall``: see ``coverage``.
        """
        found = coverage(made, self._real)
        return {
            "spread": spread(made) / self._spread,
            "modes": entropy(nearest(made, self._anchors)[0]) / self._kinds,
            "duplicates": float((radii(made, 1) < self._near).mean()),
            "precision": found.precision,
            "recall": found.recall,
        }


def spread(points: Points) -> float:
    """Mean distance of two different points of [n, d]."""
    held = points.astype(np.float64)
    squares = (held**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * held @ held.T, 0.0))
    return float(apart.sum() - np.trace(apart)) / (len(points) * (len(points) - 1))


def entropy(kinds: npt.NDArray[np.integer]) -> float:
    """Of how often each kind is among [n], in nats; 0 where all are of one."""
    _, counts = np.unique(kinds, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
