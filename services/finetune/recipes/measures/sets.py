"""Two sets of points compared: kernel distance, precision and recall, nearest neighbours.

The points are features of pictures, [n, d]; distances are Euclidean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.number[Any]]
Places = npt.NDArray[np.int64]
Distances = npt.NDArray[np.float64]

NEIGHBOURS = 3
_SUBSETS, _SUBSET = 100, 100
_ROWS = 1000


@dataclass(frozen=True)
class Kid:
    """A kernel distance; it has no unit, and may fall a little below 0 where two sets are alike."""

    mean: float
    deviation: float
    """Of the estimates from subsets, not of their mean; it says little of subsets that are most of a set."""


@dataclass(frozen=True)
class Coverage:
    """How two sets lie in each other."""

    precision: float
    """Share of the made that lie where real ones are."""
    recall: float
    """Share of the real that lie where made ones are."""


def kid(made: Points, real: Points, seed: int = 0, subsets: int = _SUBSETS, size: int = _SUBSET) -> Kid:
    """Kernel inception distance (Bińkowski et al., 2018), over random subsets of at most ``size`` of each.

    Raises ValueError for a set of fewer than two.
    """
    chance = np.random.default_rng(seed)
    size = min(size, len(made), len(real))
    estimates = [
        discrepancy(
            made[chance.choice(len(made), size, replace=False)],
            real[chance.choice(len(real), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(estimates)), float(np.std(estimates)))


def discrepancy(a: Points, b: Points) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x.y / d + 1)^3 (Gretton et al., 2012)."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} are too small to compare, 2 is the least")
    a, b = a.astype(np.float64), b.astype(np.float64)
    return _among(a) + _among(b) - 2 * float(_kernel(a, b).mean())


def coverage(made: Points, real: Points, neighbours: int = NEIGHBOURS) -> Coverage:
    """Improved precision and recall (Kynkäänniemi et al., 2019).

    A point lies where a set is when it is no farther from some member than that member's ``neighbours``-th
    nearest fellow. Raises ValueError for a set without so many.
    """
    return Coverage(
        precision=_inside(made, real, radii(real, neighbours)),
        recall=_inside(real, made, radii(made, neighbours)),
    )


def radii(points: Points, neighbours: int) -> Distances:
    """[n]: how far the ``neighbours``-th nearest other point is from each."""
    if not 0 < neighbours < len(points):
        raise ValueError(f"of {len(points)} points, none has {neighbours} neighbours")
    parts = []
    for begin, apart in _apart(points, points):
        rows = np.arange(len(apart))
        apart[rows, begin + rows] = -1.0  # itself comes first, even where others lie on it
        parts.append(np.partition(apart, neighbours, axis=1)[:, neighbours])
    return np.sqrt(np.concatenate(parts))


def nearest(queries: Points, among: Points) -> tuple[Places, Distances]:
    """(places, distances) [queries] of the nearest of ``among``; of equal ones the first."""
    places = np.zeros(len(queries), np.int64)
    least = np.full(len(queries), np.inf)
    for begin in range(0, len(among), _ROWS):
        part = among[begin : begin + _ROWS]
        for first, apart in _apart(queries, part):
            rows = slice(first, first + len(apart))
            found = apart.argmin(axis=1)
            closer = apart[np.arange(len(apart)), found]
            is_closer = closer < least[rows]
            places[rows] = np.where(is_closer, begin + found, places[rows])
            least[rows] = np.minimum(closer, least[rows])
    return places, np.sqrt(least)


def _kernel(a: Points, b: Points) -> Distances:
    """[len(a), len(b)]."""
    values: Distances = (a @ b.T / a.shape[1] + 1.0) ** 3
    return values


def _among(a: Points) -> float:
    """Mean kernel of all pairs of two different points."""
    values = _kernel(a, a)
    return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))


def _inside(points: Points, members: Points, reach: Distances) -> float:
    """Share of ``points`` within the reach of any member."""
    limits = reach**2 * (1 + 1e-9)
    hits = [(apart <= limits).any(axis=1) for _, apart in _apart(points, members)]
    return float(np.concatenate(hits).mean())


def _apart(a: Points, b: Points) -> Iterator[tuple[int, Distances]]:
    """Squared distances [rows, len(b)] of some rows of ``a`` at a time, with the first row's place."""
    b = b.astype(np.float64)
    lengths = (b**2).sum(axis=1)
    for begin in range(0, len(a), _ROWS):
        rows = a[begin : begin + _ROWS].astype(np.float64)
        squares = (rows**2).sum(axis=1)[:, None] + lengths - 2 * rows @ b.T
        yield begin, np.maximum(squares, 0.0)
