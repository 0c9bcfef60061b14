"""When a backend that keeps failing is left alone, and how it comes back."""

from __future__ import annotations

import enum

FAILURES = 5
"""Failures in a row before an ejection."""
BASE_SECONDS = 5.0
"""The n-th ejection in a row lasts n times as long."""


class Outcome(enum.Enum):
    """What one call says about its backend."""

    GOOD = enum.auto()
    BAD = enum.auto()
    NEUTRAL = enum.auto()


class Outlier:
    """One backend's record: in service, ejected until a time, then half-open to one probe at a time."""

    def __init__(self) -> None:
        self._failures = 0
        self._ejections = 0
        self._until: float | None = None
        self._probing = False

    @property
    def ejected(self) -> bool:
        """Whether the backend is out of service or has yet to pass its probe."""
        return self._until is not None

    @property
    def due(self) -> bool:
        """Whether it has failed often enough to be ejected."""
        return self._failures >= FAILURES

    def admits(self, now: float) -> bool:
        """Whether a call may go to this backend: always in service, as the only probe when half-open."""
        return self._until is None or (now >= self._until and not self._probing)

    def begin(self) -> None:
        """A call goes to this backend; after an ejection it is the probe."""
        self._probing = self._until is not None

    def record(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of a call into account; a failed probe ejects again, for longer."""
        self._probing = False
        if outcome is Outcome.GOOD:
            self._failures = self._ejections = 0
            self._until = None
        elif outcome is Outcome.BAD and self._until is not None:
            if now >= self._until:
                self.eject(now)
        elif outcome is Outcome.BAD:
            self._failures += 1

    def eject(self, now: float) -> None:
        """Out of service for a while."""
        self._ejections += 1
        self._failures = 0
        self._until = now + BASE_SECONDS * self._ejections
