"""Claims data sets and works on them, a few at a time; any number of processes may do so at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from services.common.errors import ServiceError
from services.common.metrics import Metrics
from services.finetune.datasets.dataset import Progress, State
from services.finetune.datasets.working.leases import Claim, LeaseLost
from services.finetune.datasets.working.task import Means, Stopped, Task

LEASE_SECONDS = 15.0
MOST_ATTEMPTS = 3
"""A data set that was begun so often and never came to an end brings its workers down: it is given up."""
_TICK = 0.5
"""Seconds between looks at a running task."""
_POLL = 3.0
"""Seconds between looks for data sets whose worker has died."""
_TIDY = 600.0

_logger = logging.getLogger("pequod.datasets")


class Worker:
    """``tidy`` removes what is no longer needed; blocking, run now and then."""

    def __init__(self, means: Means, tidy: Callable[[], None], metrics: Metrics, parallel: int = 2) -> None:
        self._means = means
        self._tidy = tidy
        self._metrics = metrics
        self._parallel = parallel
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look for work."""
        loops: list[Coroutine[Any, Any, None]] = [self._work() for _ in range(self._parallel)]
        self._running = [asyncio.create_task(each) for each in (*loops, self._tidy_up())]

    def wake(self) -> None:
        """There is a new data set to work on."""
        self._wake.set()

    async def close(self) -> None:
        """Stop within a file's time; what is unfinished is another process's, or the next one's."""
        self._closing.set()
        self._wake.set()
        await asyncio.gather(*self._running)

    async def _work(self) -> None:
        while not self._closing.is_set():
            try:
                claim = await asyncio.to_thread(self._means.leases.claim)
                if claim is not None:
                    await self._run(claim)
                    continue
            except ServiceError as error:
                _logger.warning("no work on data sets for now: %s", error)
            except Exception:
                _logger.exception("the work on a data set failed; it will be tried again")
            await self._pause(self._wake, _POLL)
            if not self._closing.is_set():
                self._wake.clear()

    async def _run(self, claim: Claim) -> None:
        dataset_id = claim.dataset.dataset_id
        if claim.attempt > MOST_ATTEMPTS:
            message = f"the work on it was cut off {MOST_ATTEMPTS} times"
            await asyncio.to_thread(self._means.leases.failed, claim, message)
            self._metrics.datasets.labels(State.FAILED.value).inc()
            return
        task = Task(claim, self._means)
        thread = asyncio.create_task(asyncio.to_thread(task.run))
        try:
            await self._follow(claim, task, thread)
            state = await thread
            self._metrics.datasets.labels(state.value).inc()
            _logger.info("data set %s is %s", dataset_id, state.value)
        except Stopped:
            with contextlib.suppress(LeaseLost):
                await asyncio.to_thread(self._means.leases.give_back, claim)
        except LeaseLost:
            _logger.info("data set %s was deleted or taken over", dataset_id)

    async def _follow(self, claim: Claim, task: Task, thread: asyncio.Task[State]) -> None:
        """Renew the lease and write down the progress until the task ends."""
        written: Progress | None = None
        renewed = time.monotonic()
        while not thread.done():
            if self._closing.is_set():
                task.stop()
            await asyncio.wait({thread}, timeout=_TICK)
            due = time.monotonic() - renewed > LEASE_SECONDS / 3
            if thread.done() or (task.progress == written and not due):
                continue
            written, renewed = task.progress, time.monotonic()
            try:
                await asyncio.to_thread(self._means.leases.renew, claim, written)
            except LeaseLost:
                task.stop()
            except ServiceError as error:
                _logger.warning("the lease of %s was not renewed: %s", claim.dataset.dataset_id, error)

    async def _tidy_up(self) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.to_thread(self._tidy)
            except Exception:
                _logger.exception("could not tidy up; trying again later")
            await self._pause(self._closing, _TIDY)

    async def _pause(self, until: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()
