"""Looks after the runs of one executor: starts them, keeps those that wait, says how the others ended.

What there is to know stands in the database and with the executor, not here. So any number of processes may
tend the same runs, and one that starts anew goes on where another one died, between a launch and the note of
it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import asdict
from functools import partial

from services.common.errors import Code, ServiceError
from services.common.metrics import Metrics
from services.finetune.jobs.claims import Claim, Claims, Fenced, Held, Report, Wishes
from services.finetune.jobs.job import Happening, Job, JobError, Kind, Progress
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.rows import Row
from services.finetune.jobs.states import ENDED, State
from services.finetune.orchestrator.executors.contract import Ending, Executor, Run, Standing, View

_POLL = 2.0
"""Seconds between looks for what nobody tells of."""
_PAUSE = 30.0
"""Seconds after a launch that was refused for now: each try leaves its events."""
LEAVES_WITHIN = 10.0
"""Seconds in which a worker is gone once it has written its job's end."""
GRACE = 25.0
"""Seconds that a worker has for its last step and checkpoint when it is to end."""

_logger = logging.getLogger("pequod.jobs")


class Tender:
    """On the event loop; asks the database in threads."""

    def __init__(self, executor: Executor, claims: Claims, records: JobRecords, metrics: Metrics) -> None:
        self._executor, self._claims, self._records, self._metrics = executor, claims, records, metrics
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._launches_after = 0.0
        self._unwanted: dict[str, float] = {}
        """Runs whose job is another's, or over, and since when."""
        self._stopping: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def nudge(self, tenant: str, job_id: str) -> None:
        """Something is wanted of a job's worker."""
        self._executor.nudge(tenant, job_id)

    async def run(self) -> None:
        """Until it is closed."""
        while not self._closing.is_set():
            self._wake.clear()
            try:
                await self._look()
                await self._fill()
            except ServiceError as error:
                _logger.warning("no work on %s jobs for now: %s", self._executor.name, error)
            except Exception:
                _logger.exception("a look at %s jobs failed; another follows", self._executor.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._wake.wait()

    def end(self) -> None:
        """Launch nothing more; ``run`` returns."""
        self._closing.set()
        self._wake.set()

    async def close(self) -> None:
        """After ``run``: workers that cannot go on without this process give their jobs back."""
        if not self._executor.outlives:
            runs = await self._executor.poll()
            await asyncio.gather(*(self._executor.stop(each.handle, GRACE) for each in runs))
            await self._look()
        for each in self._stopping.values():
            each.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def _look(self) -> None:
        runs = await self._executor.poll()
        handles = {each.handle for each in runs}
        self._unwanted = {handle: at for handle, at in self._unwanted.items() if handle in handles}
        for run in runs:
            try:
                await self._tend(run)
            except Fenced:
                continue  # by the next look it is nobody's

    async def _tend(self, run: Run) -> None:
        held = await asyncio.to_thread(self._claims.held, run.tenant, run.job_id, run.owner, run.epoch)
        standing = run.view.standing
        if standing is Standing.ENDED:
            await self._settle(run, held)
        elif held is None:
            since = self._unwanted.setdefault(run.handle, time.monotonic())
            if standing is Standing.WAITING or time.monotonic() - since >= LEAVES_WITHIN:
                self._stop(run)
        elif standing is Standing.WORKING and held.is_silent:
            self._stop(run)
        elif standing is Standing.WAITING or held.handle != run.handle:
            wishes = await asyncio.to_thread(self._claims.heartbeat, held.claim, partial(self._news, run))
            if standing is Standing.WAITING and (wishes.cancel or wishes.pause):
                await self._withdraw(run, held.claim, wishes)

    def _news(self, run: Run, row: Row) -> Report:
        """What was not said of a run before, by whoever tends it."""
        happened = []
        if row["handle"] != run.handle and self._executor.terms.is_remote:
            happened.append(_line("info", f"runs as {run.handle}"))
        message = run.view.message if run.view.standing is Standing.WAITING else ""
        progress = Progress(0, 0, message) if message else None
        if progress is not None and asdict(progress) != row["progress"]:
            happened.append(_line("info", message))
        return Report(happened, progress=progress, values={"handle": run.handle})

    async def _withdraw(self, run: Run, claim: Claim, wishes: Wishes) -> None:
        """A run whose worker cannot hear yet that its owner wants it to stop."""
        state = State.CANCELLED if wishes.cancel else State.PAUSED
        await asyncio.to_thread(self._claims.report, claim, Report(state=state))
        self._stop(run)

    def _stop(self, run: Run) -> None:
        """Nobody waits for a worker whose job is another's."""
        if run.handle in self._stopping:
            return
        _logger.info("run %s is no longer wanted: it is stopped", run.handle)
        task = asyncio.create_task(self._stopped(run.handle))
        self._stopping[run.handle] = task
        task.add_done_callback(lambda done: self._stopping.pop(run.handle, None))

    async def _stopped(self, handle: str) -> None:
        try:
            await self._executor.stop(handle, GRACE)
        except ServiceError as error:
            _logger.warning("run %s could not be stopped, another try follows: %s", handle, error)
        self._wake.set()

    async def _settle(self, run: Run, held: Held | None) -> None:
        """A worker is gone. One that did not say why is dead, and its job anybody's, or ended for good."""
        if held is not None:
            with contextlib.suppress(Fenced):
                await asyncio.to_thread(self._write_end, held.claim, run.view)
        self._executor.forget(run.handle)
        if run.owner == self._claims.owner:  # each run is counted by one process
            await self._count(run)
        self._wake.set()

    def _write_end(self, claim: Claim, view: View) -> None:
        _logger.warning("job %s: %s", claim.job.job_id, view.message or "its worker is gone without a word")
        if view.ending is Ending.HOPELESS:
            report = Report(state=State.FAILED, error=JobError(view.reason, view.message))
            self._claims.report(claim, report)
        elif view.ending is Ending.DISPLACED:
            self._claims.report(claim, Report(state=State.QUEUED, error=JobError(view.reason, view.message)))
        else:
            self._claims.abandon(claim, [_line("warning", view.message)] if view.message else [])

    async def _count(self, run: Run) -> None:
        with contextlib.suppress(ServiceError):  # of a job that was deleted meanwhile
            job = await asyncio.to_thread(self._records.get, run.tenant, run.job_id)
            _logger.info("the worker of job %s is gone: %s", run.job_id, job.state.value)
            self._observe(job)

    def _observe(self, job: Job) -> None:
        if job.state not in ENDED:
            return
        self._metrics.jobs_ended.labels(job.spec.recipe, job.state.value).inc()
        if job.start_time is not None and job.end_time is not None:
            seconds = (job.end_time - job.start_time).total_seconds()
            self._metrics.job_seconds.labels(job.spec.recipe).observe(seconds)

    async def _fill(self) -> None:
        """Launch jobs while there is room for one and one that fits."""
        while not self._closing.is_set() and time.monotonic() >= self._launches_after:
            free = self._executor.free()
            if free is None:
                return
            claim = await asyncio.to_thread(self._claims.next, self._executor.name.value, free)
            if claim is None:
                return
            _logger.info("job %s starts", claim.job.job_id, extra={"attempt": claim.job.attempts})
            try:
                await self._executor.launch(claim)
            except OSError as error:
                _logger.error("job %s could not be started: %s", claim.job.job_id, error)
                await asyncio.to_thread(self._claims.abandon, claim)
                return
            except ServiceError as error:
                await self._refused(claim, error)

    async def _refused(self, claim: Claim, error: ServiceError) -> None:
        """A launch: back into the queue where it may be better later, else that was the job's end."""
        _logger.error("job %s could not be started: %s", claim.job.job_id, error)
        is_for_now = error.code is Code.UNAVAILABLE
        if is_for_now:
            self._launches_after = time.monotonic() + _PAUSE
        state = State.QUEUED if is_for_now else State.FAILED
        report = Report(state=state, error=JobError(error.reason, error.message))
        with contextlib.suppress(Fenced):
            await asyncio.to_thread(self._claims.report, claim, report)


def _line(level: str, text: str) -> Happening:
    return Happening(Kind.LOG, {"level": level, "text": text})
