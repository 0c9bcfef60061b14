"""What has to hold after a run, one sentence a rule.

failed = 0
p99 of quiet in beside <= 1.5 x p99 of quiet in alone
goodput in over >= 0.9 x peak
queue_depth of gateway <= 512
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FIGURES = {
    **dict.fromkeys(("ok", "refused", "wrong", "failed", "cancelled", "late"), "calls that ended so"),
    "asked": "calls that were due",
    "answered_share": "% of the calls that were answered right",
    "failed_other": "failed calls with another code than UNAVAILABLE",
    "hints_missing": "refusals that do not say when to come again",
    "goodput": "right answers a second",
    "rate": "calls due a second",
    "peak": "right answers a second when the capacity was measured",
    **{name: f"ms, {name} of the time to an answer" for name in ("p50", "p90", "p99", "p999", "most")},
    **{f"first_{name}": f"ms, {name} of the time to a stream's first piece" for name in ("p50", "p99")},
    **{f"gap_{name}": f"ms, {name} of the time between a stream's pieces" for name in ("p50", "p99")},
    "queue_depth": "most that waited in a process",
    "memory_slope": "% by which a process's memory grows in ten minutes, after the first third",
    "memory_growth": "% by which a process's memory grew from the first third to the last",
    "recovery": "s from an action until all services were ready again, the longest",
    "freed_beyond": "ms that work went on beyond a step when nobody waited any more, the most of all",
    "running_at_end": "sequences, rows and waiting calls still there after the run",
}
OF_PROCESSES = {"queue_depth", "memory_slope", "memory_growth"}
_FIGURE = r"(?P<{0}name>[a-z_0-9]+)(?: of (?P<{0}of>[\w-]+))?(?: in (?P<{0}phase>[\w-]+))?"
_RULE = re.compile(
    _FIGURE.format("a")
    + r" (?P<compare><=|>=|=|<|>) (?:(?P<factor>\d+(?:\.\d+)?)(?: x (?=[a-z]))?)?"
    + f"(?:{_FIGURE.format('b')})?"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Figure:
    """One number of a run: of all, of a group, a call or a process, over all of it or in one phase."""

    name: str
    of: str = ""
    phase: str = ""

    @property
    def of_process(self) -> bool:
        """Whether ``of`` names a process."""
        return self.name in OF_PROCESSES

    def __str__(self) -> str:
        return f"{self.name}{f' of {self.of}' * bool(self.of)}{f' in {self.phase}' * bool(self.phase)}"


Look = Callable[[Figure], float | None]
"""Finds a figure; NaN where a run has none, None where it was not measured at all."""


@dataclass(frozen=True)
class Held:
    """What became of a rule."""

    rule: str
    found: float | None
    limit: float | None
    held: bool | None
    """None: it could not be measured."""


@dataclass(frozen=True)
class Rule:
    """``figure`` compared with ``factor``, or with ``factor`` times another figure."""

    text: str
    figure: Figure
    compare: str
    factor: float
    times: Figure | None = None

    def figures(self) -> Iterator[Figure]:
        """Those that it needs."""
        yield self.figure
        if self.times is not None:
            yield self.times

    def judge(self, look: Look) -> Held:
        """Whether it holds. A figure that is no number breaks it."""
        found = look(self.figure)
        base = 1.0 if self.times is None else look(self.times)
        if found is None or base is None:
            return Held(self.text, found, None, None)
        limit = self.factor * base
        held = not math.isnan(found) and not math.isnan(limit) and _COMPARE[self.compare](found, limit)
        return Held(self.text, found, limit, held)


def read_rule(text: str) -> Rule:
    """The rule that ``text`` says. Raises ValueError with what it may say."""
    found = _RULE.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found["factor"] is None and found["bname"] is None):
        raise ValueError(
            f"{text!r} is no rule; one is like 'p99 of quiet in beside <= 1.5 x p99 of quiet in alone'"
        )
    figures = [
        Figure(found[f"{side}name"], found[f"{side}of"] or "", found[f"{side}phase"] or "")
        for side in "ab"
        if found[f"{side}name"]
    ]
    for figure in figures:
        if figure.name not in FIGURES:
            raise ValueError(f"{text!r}: no figure {figure.name!r}; figures: {', '.join(FIGURES)}")
    factor = float(found["factor"]) if found["factor"] else 1.0
    return Rule(text, figures[0], found["compare"], factor, figures[1] if len(figures) > 1 else None)
