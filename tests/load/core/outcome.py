"""What became of each call."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Kind(enum.StrEnum):
    """How a call ended."""

    OK = "ok"
    """Answered, with the right status and the right payload."""
    REFUSED = "refused"
    """Turned away before any work, for a limit or for want of room; see ``Outcome.retry_after``."""
    WRONG = "wrong"
    """Answered with status OK and a payload that is not what it has to be."""
    FAILED = "failed"
    """Any other status, or a connection that broke."""
    CANCELLED = "cancelled"
    """Left by us on purpose."""
    LATE = "late"
    """Not answered within the deadline that we set."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one call, without its times."""

    kind: Kind
    code: str = "OK"
    """Name of its gRPC status; of a call without one, of the exception."""
    reason: str = ""
    """The cause by its name in the error catalogue."""
    retry_after: float | None = None
    """Seconds that a refusal asks to wait; None: it does not say."""
    detail: str = ""
    """What was wrong, in words."""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call. Times are seconds since the record's beginning."""

    call: str
    group: str
    """Whose call it was: a group of callers of the scenario."""
    due: float
    """When it should have begun. In a closed loop: when it began."""
    began: float
    ended: float
    verdict: Verdict
    first: float | None = None
    """When the first piece of a stream came."""
    gaps: tuple[float, ...] = ()
    """Seconds between the pieces of a stream."""
    tokens: int = 0

    @property
    def kind(self) -> Kind:
        """How it ended."""
        return self.verdict.kind

    @property
    def latency(self) -> float:
        """Seconds from when it should have begun, so that a stall counts for those that it kept waiting."""
        return self.ended - self.due

    @property
    def lag(self) -> float:
        """Seconds by which the load generator itself was late."""
        return self.began - self.due

    @property
    def to_first(self) -> float | None:
        """Seconds from when it should have begun to the first piece."""
        return None if self.first is None else self.first - self.due


@dataclass
class Record:
    """All outcomes of a run, in the order of their ends, on one clock that begins with the record."""

    clock: Callable[[], float] = time.perf_counter
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._zero = self.clock()

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._zero

    def add(self, outcome: Outcome) -> None:
        """Keep one."""
        self.outcomes.append(outcome)


class Marks:
    """When the pieces of one stream came. A call with one reply leaves it alone."""

    def __init__(self, record: Record) -> None:
        self._now = record.now
        self._last: float | None = None
        self.first: float | None = None
        self.gaps: list[float] = []
        self.tokens = 0

    def piece(self, tokens: int = 1) -> None:
        """A piece of ``tokens`` tokens has come just now."""
        now = self._now()
        if self._last is None:
            self.first = now
        else:
            self.gaps.append(now - self._last)
        self._last = now
        self.tokens += tokens
