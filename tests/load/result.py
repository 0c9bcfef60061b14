"""What a run came to, and the figures that rules ask of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.load.actions import Event
from tests.load.core.outcome import Kind, Outcome
from tests.load.core.summary import Stretch, Summary, between, by_time, summary
from tests.load.rules import Figure, Held
from tests.load.scenario import Scenario
from tests.load.watching.freeing import Freed
from tests.load.watching.samples import Sample, Watched, growth, slope


@dataclass(frozen=True)
class Machine:
    """Where it ran."""

    cores: int
    foreign: float
    """Cores that other programs took meanwhile, on average."""
    python: str
    when: str


@dataclass
class Result:
    """Everything that a run left."""

    scenario: Scenario
    outcomes: Sequence[Outcome]
    spans: Mapping[str, tuple[float, float]]
    """Beginning and end of each phase."""
    watched: Mapping[str, Watched]
    machine: Machine
    peak: float | None = None
    """Right answers a second when the capacity was measured."""
    events: Sequence[Event] = ()
    faults: Sequence[str] = ()
    """Why its times say nothing; empty when they do."""
    freed: Sequence[Freed] = ()
    running_at_end: float | None = None
    held: list[Held] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return max(end for _, end in self.spans.values())

    @property
    def passed(self) -> bool:
        """Whether every rule holds that could be measured, in a run that is valid."""
        return not self.faults and all(each.held is not False for each in self.held)

    def summary(self, of: str = "", phase: str = "") -> Summary:
        """Of all calls, or those of a group or a call, in all phases or one."""
        begin, end = self.spans[phase] if phase else (0.0, self.seconds)
        chosen = [o for o in between(self.outcomes, begin, end) if of in ("", o.group, o.call)]
        return summary(chosen, end - begin)

    def by_time(self, every: int = 1) -> list[Stretch]:
        """All calls, by stretches of ``every`` seconds."""
        return by_time(self.outcomes, every)

    def calls_of(self, process: str) -> int:
        """Calls that passed a process."""
        kinds = self.scenario.calls
        return sum(process in (CLIENT, "gateway", kinds[each.call].SERVICE) for each in self.outcomes)

    def cpu_per_call(self, process: str) -> float | None:
        """CPU microseconds. None where no call came by."""
        calls = self.calls_of(process)
        used = self.watched[process].cpu_between(0.0, math.inf)
        return 1e6 * used / calls if calls else None

    def look(self, figure: Figure) -> float | None:
        """The figure; NaN where there is none, None where it was not measured."""
        if figure.of_process:
            return self._of_processes(figure)
        if figure.name in _OF_RUN:
            return _OF_RUN[figure.name](self)
        return _OF_CALLS[figure.name](self.summary(figure.of, figure.phase))

    def _of_processes(self, figure: Figure) -> float | None:
        found = [
            value
            for name, watched in self.watched.items()
            if figure.of == name or (not figure.of and name != CLIENT)
            if (value := _OF_SAMPLES[figure.name](watched.samples)) is not None
        ]
        return max(found, default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is no number is null there."""
        groups = {name: self.summary(name).as_dict() for name in self.scenario.groups}
        phases = {
            phase: {name: self.summary(name, phase).as_dict() for name in ("", *self.scenario.groups)}
            for phase in self.spans
        }
        plain = {
            "scenario": self.scenario.name,
            "about": self.scenario.about,
            "passed": self.passed,
            "faults": list(self.faults),
            "machine": asdict(self.machine),
            "peak": self.peak,
            "rules": [asdict(each) for each in self.held],
            "all": self.summary().as_dict(),
            "groups": groups,
            "phases": phases,
            "calls": {name: self.summary(name).as_dict() for name in self.scenario.calls},
            "events": [asdict(each) for each in self.events],
            "freed": [{**asdict(each), "beyond": each.beyond} for each in self.freed],
            "running_at_end": self.running_at_end,
            "cpu_us_per_call": {name: self.cpu_per_call(name) for name in self.watched},
            "seconds": [asdict(each) for each in self.by_time()],
            "samples": {name: [asdict(s) for s in each.samples] for name, each in self.watched.items()},
        }
        found = _finite(plain)
        assert isinstance(found, dict)
        return found


CLIENT = "load client"
"""This process, among those watched."""


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def _failed_other(found: Summary) -> float:
    unavailable = sum(
        n for code, n in found.codes.items() if code in ("UNAVAILABLE", "UNAVAILABLE BACKEND_DOWN")
    )
    return found.count(Kind.FAILED) - unavailable


def _deepest(samples: Sequence[Sample]) -> float | None:
    return max((each.queue_depth for each in samples if each.queue_depth is not None), default=None)


_OF_SAMPLES: Mapping[str, Callable[[Sequence[Sample]], float | None]] = {
    "queue_depth": _deepest,
    "memory_slope": slope,
    "memory_growth": growth,
}
_OF_RUN: Mapping[str, Callable[[Result], float | None]] = {
    "peak": lambda result: result.peak,
    "recovery": lambda result: max((each.took for each in result.events), default=None),
    "freed_beyond": lambda result: max((1e3 * each.beyond for each in result.freed), default=None),
    "running_at_end": lambda result: result.running_at_end,
}
_OF_CALLS: Mapping[str, Callable[[Summary], float]] = {
    **{str(kind): lambda found, kind=kind: found.count(kind) for kind in Kind},  # type: ignore[misc]
    "asked": lambda found: found.asked,
    "answered_share": lambda found: 100 * found.count(Kind.OK) / found.asked if found.asked else math.nan,
    "failed_other": _failed_other,
    "hints_missing": lambda found: found.hints_missing,
    "goodput": lambda found: found.goodput,
    "rate": lambda found: found.rate,
    "p50": lambda found: 1e3 * found.latency.p50,
    "p90": lambda found: 1e3 * found.latency.p90,
    "p99": lambda found: 1e3 * found.latency.p99,
    "p999": lambda found: 1e3 * found.latency.p999,
    "most": lambda found: 1e3 * found.latency.most,
    "first_p50": lambda found: 1e3 * found.first.p50,
    "first_p99": lambda found: 1e3 * found.first.p99,
    "gap_p50": lambda found: 1e3 * found.gaps.p50,
    "gap_p99": lambda found: 1e3 * found.gaps.p99,
}
