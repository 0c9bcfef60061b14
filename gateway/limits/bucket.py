"""A rate: a bucket that refills evenly, and may be overdrawn by what turned out to cost more."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """``capacity`` units refill in ``seconds``. A full bucket lets anything through, however large."""

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity, self.seconds = capacity, seconds
        self._clock = clock
        self._level, self._at = capacity, clock()

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` may be taken, 0 for now."""
        missing = min(amount, self.capacity) - self._now()
        return max(0.0, missing * self.seconds / self.capacity)

    def take(self, amount: float) -> None:
        """Take ``amount``, which may be negative: what was taken too much comes back."""
        self._level = min(self.capacity, self._now() - amount)

    def _now(self) -> float:
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / self.seconds)
        self._at = now
        return self._level
