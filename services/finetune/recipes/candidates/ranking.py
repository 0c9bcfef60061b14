"""The order of candidates: by the sum of their places over all scores, those with a veto last.

Places and not values are added, for scores have no common unit. A candidate that lacks a score, or has one
that is no number, comes last by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.finetune.recipes.watching import Better, Score


class Scored(Protocol):
    """What is ranked."""

    @property
    def step(self) -> int:
        """When it was written."""
        ...

    @property
    def scores(self) -> Sequence[Score]:
        """Its figures."""
        ...


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands among the others."""

    step: int
    rank: int
    """1 is the best; 0: a veto rules it out."""
    places: Mapping[str, int]
    """By each score that has a better way, among all candidates; equal ones share a place."""
    vetoes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Sum of the places: less is better."""
        return sum(self.places.values())


def ranked(candidates: Iterable[Scored]) -> list[Standing]:
    """The best first, those ruled out last; of equal ones the one that learnt less."""
    every = list(candidates)
    places = _places(every)
    standings = [
        Standing(each.step, 0, places[number], tuple(score.veto for score in each.scores if score.veto))
        for number, each in enumerate(every)
    ]
    good = sorted((each for each in standings if not each.vetoes), key=_order)
    out = sorted((each for each in standings if each.vetoes), key=_order)
    numbered = [
        Standing(each.step, rank, each.places, each.vetoes) for rank, each in enumerate(good, start=1)
    ]
    return [*numbered, *out]


def best(candidates: Iterable[Scored]) -> int | None:
    """Step of the best; None where none is good."""
    first = next(iter(ranked(candidates)), None)
    return first.step if first is not None and first.rank else None


def is_worse_for(candidates: Iterable[Scored], patience: int) -> bool:
    """Whether the last ``patience`` candidates brought nothing better; never for a patience of 0."""
    every = list(candidates)
    if not patience or len(every) < patience:
        return False
    found = best(every)
    since = every if found is None else [each for each in every if each.step > found]
    return len(since) >= patience


def beyond(candidates: Iterable[Scored], keep: int) -> list[int]:
    """Steps of those that are not among the best ``keep``, which must be at least 1."""
    return [each.step for each in ranked(candidates)[max(keep, 1) :]]


def _order(standing: Standing) -> tuple[int, int]:
    return standing.total, standing.step


def _places(candidates: Sequence[Scored]) -> list[dict[str, int]]:
    """Of each candidate its place by each score."""
    names = {
        score.name: score.better
        for each in candidates
        for score in each.scores
        if score.better is not Better.NEITHER
    }
    found: list[dict[str, int]] = [{} for _ in candidates]
    for name, better in names.items():
        costs = [_cost(each, name, better) for each in candidates]
        for number, cost in enumerate(costs):
            found[number][name] = 1 + sum(other < cost for other in costs)
    return found


def _cost(candidate: Scored, name: str, better: Better) -> float:
    """Less is better, as with every score; infinite where there is none."""
    value = next((score.value for score in candidate.scores if score.name == name), math.nan)
    if math.isnan(value):
        return math.inf
    return value if better is Better.LOWER else -value
