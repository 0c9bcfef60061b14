"""When calls are due: times that depend on a seed alone, never on how earlier calls fare."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that is due ``at`` seconds after the run's beginning."""

    at: float
    call: str
    """Its name in the mix."""


@dataclass(frozen=True)
class Stretch:
    """``seconds`` during which ``rate`` calls a second are due on average."""

    rate: float
    seconds: float


def poisson(rate: float, seconds: float, dice: random.Random) -> Iterator[float]:
    """Times in [0, seconds) of independent callers: gaps are exponential with mean 1 / rate. Rate 0: none."""
    at = dice.expovariate(rate) if rate > 0 else seconds
    while at < seconds:
        yield at
        at += dice.expovariate(rate)


def chosen(mix: Mapping[str, float], dice: random.Random) -> Iterator[str]:
    """Names of ``mix`` without end, each as often as its weight says. Raises ValueError where all are 0."""
    names, weights = list(mix), list(mix.values())
    if not names or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights of a mix are numbers from 0 on, one of them above it: {dict(mix)}")
    while True:
        yield dice.choices(names, weights)[0]


def arrivals(stretches: Sequence[Stretch], mix: Mapping[str, float], seed: int) -> Iterator[Arrival]:
    """The calls of all stretches, one after the other in time. Equal arguments give equal arrivals."""
    times, names = random.Random(f"times {seed}"), chosen(mix, random.Random(f"names {seed}"))
    begin = 0.0
    for stretch in stretches:
        for at in poisson(stretch.rate, stretch.seconds, times):
            yield Arrival(begin + at, next(names))
        begin += stretch.seconds
