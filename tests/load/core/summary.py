"""What outcomes come to: counts, exact percentiles, and the same second by second."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.load.core.outcome import Kind, Outcome

SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that ``share`` of all do not exceed (nearest rank, exact). NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True)
class Percentiles:
    """Seconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles:
        """Those of ``values``; NaN without any."""
        ordered = sorted(values)
        return cls(*(percentile(ordered, share) for share in SHARES), len(ordered))


@dataclass(frozen=True)
class Summary:
    """One group, call or phase of a run."""

    seconds: float
    """The time that its calls were due in."""
    asked: int
    """Calls that were due."""
    kinds: dict[str, int]
    codes: dict[str, int]
    """How many calls ended with CODE or CODE REASON, those that are OK left out."""
    latency: Percentiles
    """From when a call was due, over right answers and late calls, which took at least so long."""
    first: Percentiles
    """To the first piece of a stream."""
    gaps: Percentiles
    """Between the pieces of streams."""
    lag: Percentiles
    """By which the client began late."""
    tokens: int
    hints_missing: int
    """Refusals that do not say when to come again."""

    @property
    def goodput(self) -> float:
        """Right answers a second."""
        return self.kinds.get(Kind.OK, 0) / self.seconds if self.seconds else math.nan

    @property
    def rate(self) -> float:
        """Calls due a second."""
        return self.asked / self.seconds if self.seconds else math.nan

    def count(self, kind: Kind) -> int:
        """How many ended so."""
        return self.kinds.get(kind, 0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "goodput": self.goodput, "rate": self.rate}


def summary(outcomes: Sequence[Outcome], seconds: float) -> Summary:
    """What ``outcomes`` of calls that were due within ``seconds`` come to."""
    kinds = Counter(outcome.kind for outcome in outcomes)
    bad = [outcome.verdict for outcome in outcomes if outcome.kind is not Kind.OK]
    refused = [verdict for verdict in bad if verdict.kind is Kind.REFUSED]
    return Summary(
        seconds=seconds,
        asked=len(outcomes),
        kinds={str(kind): kinds[kind] for kind in Kind if kinds[kind]},
        codes=dict(Counter(f"{verdict.code} {verdict.reason}".strip() for verdict in bad).most_common()),
        latency=Percentiles.of(o.latency for o in outcomes if o.kind in (Kind.OK, Kind.LATE)),
        first=Percentiles.of(o.to_first for o in outcomes if o.to_first is not None),
        gaps=Percentiles.of(gap for outcome in outcomes for gap in outcome.gaps),
        lag=Percentiles.of(outcome.lag for outcome in outcomes),
        tokens=sum(outcome.tokens for outcome in outcomes),
        hints_missing=sum(verdict.retry_after is None for verdict in refused),
    )


def between(outcomes: Iterable[Outcome], begin: float, end: float) -> list[Outcome]:
    """Those that were due in [begin, end)."""
    return [outcome for outcome in outcomes if begin <= outcome.due < end]


@dataclass(frozen=True)
class Stretch:
    """One stretch of a run: calls by when they were due, right answers also by when they came."""

    at: int
    """Second at which it begins."""
    asked: int
    done: int
    """Right answers that came in it."""
    kinds: dict[str, int]
    p50: float
    p99: float


def by_time(outcomes: Sequence[Outcome], every: int = 1) -> list[Stretch]:
    """Stretches of ``every`` seconds from 0 to the last, also those in which nothing was due."""
    if not outcomes:
        return []
    length = 1 + int(max(outcome.ended for outcome in outcomes)) // every
    due: list[list[Outcome]] = [[] for _ in range(length)]
    done = Counter(int(outcome.ended) // every for outcome in outcomes if outcome.kind is Kind.OK)
    for outcome in outcomes:
        due[int(outcome.due) // every].append(outcome)
    rows = []
    for number, now in enumerate(due):
        whole = summary(now, every)
        times = whole.latency
        rows.append(Stretch(number * every, len(now), done[number], whole.kinds, times.p50, times.p99))
    return rows
