"""Who comes when and wants what, and how long they wait: the arithmetic of bench_images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS = (10, 20, 20, 30)
"""What requests ask for, in even shares."""
NEAR = 1.05

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Requests in the order in which they come."""

    times: Floats
    """Seconds from the beginning."""
    steps: tuple[int, ...]


def poisson(count: int, rate: float, seed: int) -> Arrivals:
    """``count`` requests, ``rate`` a second, all at once where it is infinite. As many of each length."""
    chance = np.random.default_rng((seed, count))
    gaps = chance.exponential(1.0, count)
    steps = chance.permutation(np.resize(STEPS, count))
    return Arrivals(np.cumsum(gaps) / rate, tuple(map(int, steps)))


def capacity(seconds_per_step: float) -> float:
    """Requests a second of whoever serves one request at a time."""
    return 1.0 / (seconds_per_step * float(np.mean(STEPS)))


def begun(times: Floats, seconds: Sequence[float]) -> Floats:
    """When each request is finished by whoever serves one at a time, in order."""
    ends, free = [], 0.0
    for arrival, taken in zip(times, seconds, strict=True):
        free = max(free, float(arrival)) + taken
        ends.append(free)
    return np.array(ends)


@dataclass(frozen=True)
class Figures:
    """How a run went."""

    mean: float
    p95: float
    throughput: float
    """Requests a second, from the first one's coming to the last one's end."""

    @staticmethod
    def of(arrivals: Arrivals, ends: Floats) -> Figures:
        """``ends``: when each request was finished, on the clock of the arrivals."""
        waited = ends - arrivals.times
        span = float(ends.max() - arrivals.times.min())
        return Figures(float(waited.mean()), float(np.quantile(waited, 0.95)), len(ends) / span)

    @staticmethod
    def median(runs: Sequence[Figures]) -> Figures:
        """Of each figure, over runs."""
        table = [(each.mean, each.p95, each.throughput) for each in runs]
        return Figures(*map(float, np.median(table, axis=0)))


def fewest_rows(seconds: Mapping[int, float]) -> int:
    """The fewest rows of a call at which a row is about as cheap as it gets: the service's own rule."""
    best = min(each / rows for rows, each in seconds.items())
    return next(rows for rows in sorted(seconds) if seconds[rows] / rows <= best * NEAR)
