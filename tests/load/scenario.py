"""A scenario: who calls what, how much, in which phases, what is done meanwhile, and what has to hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.load.calls.embed import Embed
from tests.load.calls.face import Face
from tests.load.calls.image import Image
from tests.load.calls.text import Text
from tests.load.calls.tokens import Tokens
from tests.load.rules import Rule

Kind = Text | Embed | Tokens | Image | Face


class UnusableError(Exception):
    """The platform does not do what a scenario needs, whatever the load; says what."""


@dataclass(frozen=True)
class Load:
    """What one group does in one phase: one of the three."""

    rate: float = 0.0
    """Calls a second at random times, whatever becomes of them."""
    share: float = 0.0
    """The same as a share of the measured capacity."""
    callers: int = 0
    """Callers that each wait for their answer."""


@dataclass(frozen=True)
class Group:
    """Callers of one tenant."""

    mix: Mapping[str, float]
    """How often each call is chosen, relative to the others."""
    pause: float | None = None
    """Seconds that a refused caller waits, in place of what the refusal says."""


@dataclass(frozen=True)
class Phase:
    """A stretch of time."""

    name: str
    seconds: float
    load: Mapping[str, Load]


@dataclass(frozen=True)
class Capacity:
    """How the capacity is found before the phases: the most that any number of callers gets answered."""

    group: str
    callers: Sequence[int]
    """Numbers of callers to try, each for ``seconds``: too few leave room, too many wait too long."""
    seconds: float


@dataclass(frozen=True)
class Planned:
    """Something that is done to the platform ``at`` seconds after a phase's beginning."""

    phase: str
    at: float
    do: str
    process: str


@dataclass(frozen=True)
class Scenario:
    """All of it."""

    name: str
    about: str
    calls: Mapping[str, Kind]
    groups: Mapping[str, Group]
    phases: Sequence[Phase]
    rules: Sequence[Rule]
    capacity: Capacity | None = None
    actions: Sequence[Planned] = ()
    keyed: bool = False
    """Whether each group is a tenant with a key of its own."""
    measure_freeing: bool = False
    """Whether it is measured, at the end, how soon work stops that nobody waits for any more."""
    seed: int = 1
    allowed_lag: float = 0.05
    """Seconds by which this client may be late at the 99th percentile before the run counts as invalid."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings of the platform that is started for it."""

    def spans(self) -> Mapping[str, tuple[float, float]]:
        """Seconds at which each phase begins and ends."""
        spans, begin = {}, 0.0
        for phase in self.phases:
            spans[phase.name] = (begin, begin + phase.seconds)
            begin += phase.seconds
        return spans

    def scaled(self, factor: float) -> Scenario:
        """The same with all times ``factor`` times as long."""
        phases = [dataclasses.replace(each, seconds=each.seconds * factor) for each in self.phases]
        actions = [dataclasses.replace(each, at=each.at * factor) for each in self.actions]
        capacity = self.capacity and dataclasses.replace(
            self.capacity, seconds=max(1.0, self.capacity.seconds * factor)
        )
        return dataclasses.replace(self, phases=phases, actions=actions, capacity=capacity)
