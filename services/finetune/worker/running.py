"""The life of a run: prepare, run the recipe, choose and publish, end; and what becomes of each failure."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from services.common.errors import Code, Reason, ServiceError
from services.common.tracing import spans
from services.common.tracing.spans import Kind, NoSpan
from services.finetune.catalogue.entries import recipe
from services.finetune.catalogue.recipe import Recipe
from services.finetune.checkpoints.folder import JobFolder, size_of
from services.finetune.checkpoints.records import CheckpointRecords
from services.finetune.jobs.claims import Claim, Claims, Fenced, Report
from services.finetune.jobs.job import JobError, Promotion
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import ENDED, State
from services.finetune.promotion.promoting import Promoter
from services.finetune.promotion.records import Wanted, mark
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Stopped, Watcher
from services.finetune.worker.allowance import Allowance
from services.finetune.worker.following import JobWatcher
from services.finetune.worker.keeping import Keeper
from services.finetune.worker.outcomes import outcome_of
from services.finetune.worker.preparing import Asked, Means, Preparation
from services.finetune.worker.reporter import Reporter
from services.finetune.worker.timing import memory

T = TypeVar("T")

_PATIENCE = 600.0
"""Seconds that a trained model waits for a store that is away; then its owner has to resume the job."""
_PAUSE = 1.0

_logger = logging.getLogger("pequod.worker")


@dataclass(frozen=True)
class Parts:
    """What a run needs of this process."""

    claims: Claims
    jobs: JobRecords
    checkpoints: CheckpointRecords
    promoter: Promoter
    means: Means
    folder: JobFolder
    most_seconds: float = math.inf
    """That a job may run which names no limit."""


class Run:
    """One run of one job."""

    def __init__(self, claim: Claim, parts: Parts, stopping: threading.Event) -> None:
        """``stopping``: this process is asked to end."""
        self._claim, self._job, self._parts, self._stopping = claim, claim.job, parts, stopping
        self._recipe: Recipe = recipe(self._job.spec.recipe)
        self._reporter = Reporter(parts.claims, claim)
        self._reporter.on_beat = self._look
        most = claim.job.spec.resources.max_seconds or parts.most_seconds
        self._allowance = Allowance(parts.folder.path / "seconds", most)
        self._keeper = Keeper(self._job, parts.checkpoints, parts.folder, self._reporter)
        self._watcher = JobWatcher(self._reporter, self._keeper.offered, self._must_stop)
        self._is_deaf = False
        """Whether the recipe is at work and hears of no stop."""

    def hurry(self) -> None:
        """Ask at once what is wanted of the job."""
        self._reporter.hurry()

    def run(self) -> None:
        """To an end of some kind, written down; Fenced ends the process."""
        self._reporter.start()
        try:
            with self._traced() as span:
                outcome = self._outcome()
                if outcome.state is not None:
                    span.set({"pequod.job_state": outcome.state.value})
                span.conclude(outcome.error.reason if outcome.error is not None else "")
            self._reporter.write(outcome)
            if outcome.state in ENDED:
                self._parts.folder.end()
        finally:
            self._reporter.close()

    def _traced(self) -> NoSpan:
        """The span of this run, below the call that made the job."""
        if not spans.is_on():
            return spans.NOTHING
        job = self._job
        facts: spans.Attributes = {"pequod.job": job.job_id, "pequod.attempt": job.attempts}
        trace = self._reporter.ask(lambda: self._parts.jobs.trace(job.tenant, job.job_id))
        return spans.entered(f"job {job.spec.recipe}", trace, facts, Kind.INTERNAL)

    def _outcome(self) -> Report:
        """What the run comes to."""
        try:
            self._work()
        except Fenced:
            raise
        except Stopped:
            return self._stopped()
        except Exception as error:
            return outcome_of(error)
        return Report(state=State.SUCCEEDED)

    def _work(self) -> None:
        parts, job = self._parts, self._job
        asked = Asked(job.tenant, job.spec, job.base_version)
        with spans.span("prepare"):
            preparation = Preparation(asked, self._recipe, parts.means, parts.folder.path, self._watcher)
            prepared = self._lasting(preparation.run)
        values = {"dataset_digest": prepared.dataset_digest, "base_version": prepared.base_version}
        run = load(self._recipe)
        self._reporter.write(Report(state=State.RUNNING, values=values))
        self._check()
        self._is_deaf = not self._recipe.stops
        self._watcher.on_timed = self._timed if self._recipe.has_steps else None
        with spans.span("train"):
            run(prepared.task, self._watcher)
        self._watcher.on_timed = None
        self._is_deaf = False
        # An attempt after others has not seen all of it.
        taken = {"forecast": self._forecast(to_the_end=True)} if self._job.attempts == 1 else {}
        self._reporter.write(Report(state=State.EVALUATING, remaining_seconds=0.0, values=taken))
        self._check()
        with spans.span("publish"):
            self._lasting(self._promote, _PATIENCE)

    def _timed(self) -> None:
        """The first steps say what all of them take."""
        self._reporter.say(values={"forecast": self._forecast()})

    def _forecast(self, to_the_end: bool = False) -> Mapping[str, Any]:
        """``to_the_end``: what it was; later jobs that are alike are expected to take as much."""
        timing, spec = self._watcher.timing, self._job.spec
        work = self._parts.folder.path / "work"
        return {
            **(timing.to_the_end(spec) if to_the_end else timing.by_steps(spec)),
            **memory(),
            "disk_bytes": size_of(work)
            + (0 if to_the_end else timing.candidate_bytes * spec.keep_checkpoints),
            "queue_seconds": (self._job.forecast or {}).get("queue_seconds", 0.0),
            "warnings": [],
        }

    def _promote(self) -> None:
        """The best, unless the owner wants to do it, or has."""
        tenant, job_id = self._job.tenant, self._job.job_id
        job = self._parts.jobs.get(tenant, job_id)
        if job.spec.promotion is not Promotion.BEST or job.promoted_checkpoint_id:
            return
        best = next((each for each in self._parts.checkpoints.all(tenant, job_id) if each.best), None)
        if best is None:
            self._watcher.logged("no checkpoint is good enough to be published; PromoteCheckpoint takes any")
            return
        wanted = Wanted(tenant, job_id, best.checkpoint_id, job.spec.name, job.spec.alias)
        folder = self._parts.folder.candidate(best.step)
        self._parts.promoter.promote(job, best, folder, wanted, self._mark)

    def _mark(self, wanted: Wanted) -> None:
        self._reporter.under(lambda connection, row: mark(connection, row, wanted))

    def _must_stop(self) -> bool:
        """Whatever the job's owner wants."""
        return self._stopping.is_set() or self._allowance.is_over

    def _stopped(self) -> Report:
        wishes = self._reporter.wishes
        if wishes.cancel:
            return Report(state=State.CANCELLED)
        if self._allowance.is_over:
            why = f"it has run for {self._allowance.used:.0f} s, {self._allowance.seconds:.0f} s are allowed"
            return Report(state=State.FAILED, error=JobError(Reason.TIME_LIMIT, why))
        return Report(state=State.PAUSED if wishes.pause else State.QUEUED)

    def _lasting(self, part: Callable[[], T], seconds: float = 0.0) -> T:
        """What ``part``, which may be repeated, returns: tried again while the database is away, and for
        ``seconds`` while another place is. A stop is heard meanwhile."""
        ends = time.monotonic() + seconds
        while True:
            try:
                return part()
            except ServiceError as error:
                is_database = error.reason is Reason.DATABASE_UNREACHABLE
                if error.code is not Code.UNAVAILABLE or not (is_database or time.monotonic() < ends):
                    raise
                _logger.warning("waits for what is away: %s", error)
            self._check()
            time.sleep(_PAUSE)

    def _check(self) -> None:
        if self._watcher.wants_stop():
            raise Stopped("stopped between two parts of the work")

    def _look(self) -> None:
        """After each beat: a recipe that hears of no stop is ended where it is."""
        self._watcher.listen()
        with contextlib.suppress(OSError):  # a full disk is for the recipe to find
            self._allowance.note()
        if self._is_deaf and self._watcher.wants_stop():
            self._reporter.write(self._stopped())
            os._exit(0)


def load(found: Recipe) -> Callable[[Task, Watcher], None]:
    """The recipe's function; this is where torch is imported."""
    function: Callable[[Task, Watcher], None] = function_of(found.run)
    return function


def function_of(place: str) -> Any:
    """What "module:function" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
