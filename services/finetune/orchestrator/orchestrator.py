"""The loops of the service: validate, tend each executor's runs, tidy up, count."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from services.common.errors import ServiceError
from services.common.metrics import Metrics
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import ENDED, State
from services.finetune.orchestrator.tending import Tender
from services.finetune.orchestrator.validating import Validator

_POLL = 2.0
"""Seconds between looks for what other processes left."""
_TIDY = 600.0

_logger = logging.getLogger("pequod.jobs")


class Orchestrator:
    """On the event loop; asks the database in threads."""

    def __init__(
        self,
        records: JobRecords,
        validator: Validator,
        tenders: Sequence[Tender],
        metrics: Metrics,
        tidy: Callable[[], None],
    ) -> None:
        """``tidy`` removes what is no longer needed; blocking, run now and then."""
        self._records, self._validator, self._tenders = records, validator, tenders
        self._metrics, self._tidy = metrics, tidy
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look for work."""
        loops = [self._work(), self._tidy_up(), *(each.run() for each in self._tenders)]
        self._running = [asyncio.create_task(each) for each in loops]

    def wake(self) -> None:
        """There is a new job, or one may go on."""
        self._wake.set()
        for each in self._tenders:
            each.wake()

    def nudge(self, tenant: str, job_id: str) -> None:
        """Something is wanted of a job. A worker of another process hears of it a little later."""
        for each in self._tenders:
            each.nudge(tenant, job_id)
        self.wake()

    async def close(self) -> None:
        """Launch nothing more; workers write their checkpoints and give their jobs back."""
        self._closing.set()
        self._wake.set()
        for each in self._tenders:
            each.end()
        await asyncio.gather(*self._running)
        with contextlib.suppress(ServiceError):
            await asyncio.gather(*(each.close() for each in self._tenders))
            await asyncio.to_thread(self._validator.close)

    async def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                if await asyncio.to_thread(self._validator.look):
                    for each in self._tenders:
                        each.wake()
                await self._count()
            except ServiceError as error:
                _logger.warning("no work on jobs for now: %s", error)
            except Exception:
                _logger.exception("a look at the jobs failed; another follows")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._wake.wait()

    async def _tidy_up(self) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.to_thread(self._tidy)
            except Exception:
                _logger.exception("could not tidy up; trying again later")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TIDY):
                    await self._closing.wait()

    async def _count(self) -> None:
        counts = await asyncio.to_thread(self._records.counts)
        for state in State:
            if state not in ENDED:
                self._metrics.jobs.labels(state.value).set(counts.get(state, 0))
