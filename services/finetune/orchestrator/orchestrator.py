"""The loop of the service: validate, claim, launch, notice the dead, count."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from services.common.errors import ServiceError
from services.common.metrics import Metrics
from services.finetune.jobs.claims import Claim, Claims
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import ENDED, State
from services.finetune.orchestrator.executors.contract import Executor
from services.finetune.orchestrator.validating import Validator

_POLL = 2.0
"""Seconds between looks for what other processes left."""
_TIDY = 600.0
_GRACE = 25.0
"""Seconds that a worker has for its last step and checkpoint when the service ends."""

_logger = logging.getLogger("pequod.jobs")


class Orchestrator:
    """On the event loop; asks the database in threads."""

    def __init__(
        self,
        claims: Claims,
        records: JobRecords,
        validator: Validator,
        executors: Sequence[Executor],
        metrics: Metrics,
        tidy: Callable[[], None],
    ) -> None:
        """``tidy`` removes what is no longer needed; blocking, run now and then."""
        self._tidy = tidy
        self._claims, self._records, self._validator = claims, records, validator
        self._executors, self._metrics = executors, metrics
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look for work."""
        self._running = [asyncio.create_task(each) for each in (self._work(), self._tidy_up())]

    def wake(self) -> None:
        """There is a new job, or one may go on."""
        self._wake.set()

    async def close(self) -> None:
        """Launch nothing more; workers write their checkpoints and give their jobs back."""
        self._closing.set()
        self._wake.set()
        await asyncio.gather(*self._running)
        await asyncio.gather(*(each.close(_GRACE) for each in self._executors))
        with contextlib.suppress(ServiceError):
            await asyncio.to_thread(self._validator.close)

    async def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                await asyncio.to_thread(self._validator.look)
                for executor in self._executors:
                    await self._fill(executor)
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

    async def _fill(self, executor: Executor) -> None:
        """Launch jobs while there is room for one and one that fits."""
        while not self._closing.is_set() and (free := executor.free()) is not None:
            claim = await asyncio.to_thread(self._claims.next, executor.name.value, free)
            if claim is None:
                return
            _logger.info("job %s starts", claim.job.job_id, extra={"attempt": claim.job.attempts})
            try:
                await executor.launch(claim, self._ended)
            except OSError as error:
                _logger.error("job %s could not be started: %s", claim.job.job_id, error)
                await asyncio.to_thread(self._claims.abandon, claim)
                return

    async def _ended(self, claim: Claim) -> None:
        """A worker is gone. One that did not say why is dead, and its job anybody's."""
        job = claim.job
        try:
            await asyncio.to_thread(self._claims.abandon, claim)
            now = await asyncio.to_thread(self._records.get, job.tenant, job.job_id)
        except ServiceError as error:
            _logger.warning("job %s: %s", job.job_id, error)
            return
        _logger.info("the worker of job %s is gone: %s", job.job_id, now.state.value)
        if now.state in ENDED:
            self._metrics.jobs_ended.labels(now.spec.recipe, now.state.value).inc()
            if now.start_time is not None and now.end_time is not None:
                seconds = (now.end_time - now.start_time).total_seconds()
                self._metrics.job_seconds.labels(now.spec.recipe).observe(seconds)
        self._wake.set()

    async def _count(self) -> None:
        counts = await asyncio.to_thread(self._records.counts)
        for state in State:
            if state not in ENDED:
                self._metrics.jobs.labels(state.value).set(counts.get(state, 0))
