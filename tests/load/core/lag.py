"""Whether the load generator itself kept up: a client that lags measures itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from tests.load.core.outcome import Outcome, Record
from tests.load.core.summary import percentile

TICK = 0.01
ALLOWED_LAG = 0.05
"""Seconds that a call may begin late, or a tick come late, at the 99th percentile."""


@dataclass
class LoopWatch:
    """How late ticks come that the event loop should run every TICK seconds."""

    late: list[float] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watching(self, record: Record) -> AsyncIterator[None]:
        """Tick for as long as the block lasts."""
        ticking = asyncio.create_task(self._tick(record))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _tick(self, record: Record) -> None:
        while True:
            due = record.now() + TICK
            await asyncio.sleep(TICK)
            self.late.append(record.now() - due)


def faults(outcomes: Iterable[Outcome], watch: LoopWatch, allowed: float = ALLOWED_LAG) -> list[str]:
    """Why the run's times say nothing of the platform; empty when they do."""
    outcomes = list(outcomes)
    found = [] if outcomes else ["no call was due"]
    begun = percentile([outcome.lag for outcome in outcomes], 0.99)
    ticked = percentile(watch.late, 0.99)
    if begun > allowed:
        found.append(f"calls began {1e3 * begun:.0f} ms late (p99, allowed {1e3 * allowed:.0f})")
    if ticked > allowed:
        found.append(
            f"the client's event loop was {1e3 * ticked:.0f} ms late (p99, allowed {1e3 * allowed:.0f})"
        )
    return found
