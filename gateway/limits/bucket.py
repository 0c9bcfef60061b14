"""A rate: a bucket that refills evenly, and may be overdrawn by what turned out to cost more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Bucket(Protocol):
    """What limits a rate. A full bucket lets anything through, however large."""

    async def wait(self, amount: float) -> float:
        """Seconds until ``amount`` may be taken, 0 for now."""

    def take(self, amount: float) -> None:
        """Take ``amount``, which may be negative: what was taken too much comes back."""

    async def tidy(self) -> None:
        """Called every few seconds, and at the end."""


class OwnBucket:
    """The bucket of one gateway: ``capacity`` units refill in ``seconds``."""

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity, self.seconds = capacity, seconds
        self._clock = clock
        self._level, self._at = capacity, clock()

    async def wait(self, amount: float) -> float:
        """See Bucket."""
        missing = min(amount, self.capacity) - self._now()
        return max(0.0, missing * self.seconds / self.capacity)

    def take(self, amount: float) -> None:
        """See Bucket."""
        self._level = min(self.capacity, self._now() - amount)

    async def tidy(self) -> None:
        """Nothing is anybody else's."""

    def _now(self) -> float:
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / self.seconds)
        self._at = now
        return self._level
