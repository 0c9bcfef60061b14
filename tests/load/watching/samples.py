"""Each second of a run: memory and CPU time of every process, how many wait and are at work there."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx
import psutil

from tests.load.core.outcome import Record
from tests.load.watching.exposition import Page, read_page

EVERY = 1.0
LEAST_SECONDS = 300.0
"""From which a slope is told."""
RUNNING = (
    "pequod_queue_depth",
    "pequod_sequences_running",
    "pequod_active_rows",
    "pequod_projections_running",
)
_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at: float
    cpu_seconds: float
    """Used since the run's beginning, by all processes of that name."""
    memory_mib: float
    queue_depth: float | None
    """None where the page could not be read."""
    running: float | None
    """Sequences, rows, projections and waiting calls."""


@dataclass
class Watched:
    """One process of the platform, which may be another one after a restart."""

    find: Callable[[], psutil.Process]
    """The process there is now. Raises LookupError where there is none."""
    metrics: str
    """URL of its page. Empty: it has none."""
    samples: list[Sample] = field(default_factory=list)
    _process: psutil.Process | None = None
    _last: float = 0.0
    _cpu: float = 0.0

    async def found(self) -> None:
        """Look for the process; nothing where it is not there."""
        with contextlib.suppress(psutil.Error, LookupError):
            await asyncio.to_thread(self._look)

    async def sample(self, at: float, client: httpx.AsyncClient) -> None:
        """Take one, where the process is there."""
        page = await read_page(client, self.metrics) if self.metrics else None
        with contextlib.suppress(psutil.Error, LookupError):
            # In a thread: it may have to look for another process, and calls must begin on time meanwhile.
            memory = await asyncio.to_thread(self._look)
            depth = None if page is None else page.total(RUNNING[0])
            self.samples.append(Sample(at, self._cpu, memory, depth, at_work(page)))

    def _look(self) -> float:
        """Add up the CPU time; returns MiB of memory."""
        if self._process is None or not self._process.is_running():
            self._process, fresh = self.find(), self._process is not None
            self._last = 0.0 if fresh else _cpu(self._process)
        now = _cpu(self._process)
        self._cpu += now - self._last
        self._last = now
        return float(self._process.memory_info().rss) / _MIB

    def cpu_between(self, begin: float, end: float) -> float:
        """CPU seconds from ``begin`` to ``end``."""
        inside = [each.cpu_seconds for each in self.samples if begin <= each.at <= end]
        return inside[-1] - inside[0] if len(inside) > 1 else 0.0


def at_work(page: Page | None) -> float | None:
    """Sequences, rows, projections and waiting calls of a process."""
    return None if page is None else sum(page.total(name) for name in RUNNING)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


Sampling = Callable[[Record], contextlib.AbstractAsyncContextManager[None]]
"""Samples every second for as long as its block lasts, and once more at its end."""


@contextlib.asynccontextmanager
async def watching(watched: Mapping[str, Watched]) -> AsyncIterator[Sampling]:
    """Find the processes and be ready to read their pages: both take this process tens of milliseconds."""
    async with httpx.AsyncClient(trust_env=False) as client:
        await asyncio.gather(*[each.found() for each in watched.values()])
        yield partial(_sampling, watched, client)


@contextlib.asynccontextmanager
async def _sampling(
    watched: Mapping[str, Watched], client: httpx.AsyncClient, record: Record
) -> AsyncIterator[None]:
    async def once() -> None:
        at = record.now()
        await asyncio.gather(*[each.sample(at, client) for each in watched.values()])

    async def forever() -> None:
        while True:
            await once()
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await once()


def slope(samples: Sequence[Sample], warm: float = 1 / 3) -> float | None:
    """% by which memory grows in ten minutes, by least squares over all but the first ``warm`` of samples.

    None where less than LEAST_SECONDS are left: the end of a warm-up seems a slope there.
    """
    kept = samples[int(len(samples) * warm) :]
    if not kept or kept[-1].at - kept[0].at < LEAST_SECONDS:
        return None
    fit = statistics.linear_regression([each.at for each in kept], [each.memory_mib for each in kept])
    return 100 * 600 * fit.slope / statistics.mean(each.memory_mib for each in kept)


def growth(samples: Sequence[Sample]) -> float | None:
    """% by which the mean memory of the last third is above that of the first. None with fewer than three."""
    third = len(samples) // 3
    if not third:
        return None
    first, last = (
        statistics.mean(each.memory_mib for each in part) for part in (samples[:third], samples[-third:])
    )
    return 100 * (last - first) / first
