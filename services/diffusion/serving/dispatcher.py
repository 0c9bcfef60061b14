"""Runs the network for all requests, a call at a time: they join and leave between any two calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence as Rows
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

from services.common.errors import Code, Reason, ServiceError, draining, overloaded
from services.common.metrics import Metrics
from services.diffusion.engine import Model
from services.diffusion.serving.call import Outcome, make_call
from services.diffusion.serving.fairness import Fairness
from services.diffusion.serving.job import Finished, Image, Job, Order, Stepped, Waits

_STRETCH = 10.0
"""A job is due when so many times its own length have passed: short ones are not held up by long ones.

Found with calls as long as those of peeps-diffusion, Poisson arrivals and requests of 10 to 30 steps: at
0.9 of capacity the mean wait falls with it up to 10 and little after; from 20 on the longest requests pay.
"""
_NEWEST = 0.1
"""Weight of the newest call in the running mean of seconds per row."""


class Dispatcher:
    """Chooses who takes part in the next call and tells callers what came of it."""

    def __init__(self, metrics: Metrics, most_images: int) -> None:
        """``most_images``: of all jobs together; more are refused."""
        self._metrics = metrics
        self._most_images = most_images
        self._fairness = Fairness()
        self._jobs: dict[Job, None] = {}
        self._seconds_per_row: WeakKeyDictionary[Model, float] = WeakKeyDictionary()
        self._work = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make calls, on the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; whoever still waits is told that the service is going away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        gone = draining()
        for job in list(self._jobs):
            self._end(job, gone)
        self._worker.shutdown()

    def submit(self, order: Order) -> Job:
        """Take on a request. UNAVAILABLE when there are too many images."""
        now = time.monotonic()
        if len(self._fairness) + len(order.starts) > self._most_images:
            wait = sum(map(self._seconds_left, self._fairness.images()))
            raise overloaded(f"{len(self._fairness)} images are being made or wait", max(wait, 0.01))
        seconds = order.calls * order.rows * len(order.starts) * self._row_seconds(order.model)
        due = now + _STRETCH * seconds
        if order.deadline is not None:
            due = min(due, order.deadline - seconds)
        job = Job(order, due, now, self._departed)
        self._jobs[job] = None
        for image in job.images:
            self._fairness.add(image)
        self._tell_positions()
        self._work.set()
        return job

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._drop_late()
            chosen = self._fairness.choose(self._fits)
            if chosen:
                await self._call(chosen)
            else:
                self._work.clear()

    def _drop_late(self) -> None:
        """Let go of jobs whose deadline has passed."""
        now = time.monotonic()
        for job in list(self._jobs):
            if job.order.deadline is not None and now >= job.order.deadline:
                self._end(job, ServiceError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed"))

    def _fits(self, image: Image) -> bool:
        """Whether its job's adapters are in the network, or can be brought there now."""
        job = image.job
        if len(job.held) == len(job.order.adapters):
            return True
        adapters = job.order.model.adapters
        assert adapters is not None, "adapters were checked against the model"
        places = []
        for adapter, scale in job.order.adapters:
            known = adapters.holds(adapter)
            place = adapters.take(adapter)
            if place is None:  # others use it up: later
                self._return_adapters(job)
                return False
            job.held.append(adapter)
            places.append((place, scale))
            self._metrics.adapter_uses.labels("hit" if known else "miss").inc()
        job.places = tuple(places)
        return True

    def _return_adapters(self, job: Job) -> None:
        adapters = job.order.model.adapters
        for adapter in job.held:
            assert adapters is not None
            adapters.leave(adapter)
        job.held.clear()

    async def _call(self, images: Rows[Image]) -> None:
        """One call of the network, in the worker thread."""
        model = images[0].job.order.model
        now = time.monotonic()
        if fresh := {image.job for image in images if not image.job.has_begun}:
            for job in fresh:
                job.figures.began = now
                self._metrics.queue_seconds.observe(now - job.figures.submitted)
            self._tell_positions()
        outcome = await asyncio.get_running_loop().run_in_executor(
            self._worker, make_call, images, model, self._metrics.active_rows
        )
        self._record(model, outcome)
        for image in images:
            self._deliver(image, outcome)

    def _record(self, model: Model, outcome: Outcome) -> None:
        if not outcome.rows:
            return
        self._metrics.batch_rows.observe(outcome.rows)
        self._metrics.compute_seconds.labels(model.name).observe(outcome.seconds)
        self._metrics.guided_rows.labels(model.name).inc(outcome.guided_rows)
        before = self._row_seconds(model)
        self._seconds_per_row[model] = before + _NEWEST * (outcome.seconds / outcome.rows - before)

    def _deliver(self, image: Image, outcome: Outcome) -> None:
        """Tell the image's caller what came of the call."""
        job = image.job
        if job.is_over:
            return
        error = outcome.errors.get(image)
        if error is not None:
            self._end(job, error)
            return
        figures, painting = job.figures, image.painting
        assert painting is not None, "an image without a painting has an error"
        figures.calls += 1
        figures.rows += outcome.rows
        figures.most_rows = max(figures.most_rows, outcome.rows)
        if stepped := outcome.stepped.get(image):
            job.tell(Stepped(image.index, stepped.step, stepped.noise_level, stepped.preview))
        if painting.result is not None:
            image.is_done = True
            self._fairness.remove(image)
            self._metrics.images_generated.labels(job.order.model.name).inc()
            if all(each.is_done for each in job.images):
                figures.ended = time.monotonic()
                self._leave(job)
            job.tell(Finished(image.index, painting.result))

    def _departed(self, job: Job) -> None:
        """Its caller has left, with everything or early."""
        if not job.is_over:
            self._count_cancelled(job)
            self._leave(job)

    def _end(self, job: Job, error: BaseException) -> None:
        self._count_cancelled(job)
        self._leave(job)
        job.tell(error)

    def _count_cancelled(self, job: Job) -> None:
        unfinished = sum(not each.is_done for each in job.images)
        self._metrics.images_cancelled.labels(job.order.model.name).inc(unfinished)

    def _leave(self, job: Job) -> None:
        """Free what the job has."""
        job.is_over = True
        del self._jobs[job]
        for image in job.images:
            if not image.is_done:
                self._fairness.remove(image)
        self._return_adapters(job)
        self._work.set()
        self._tell_positions()

    def _tell_positions(self) -> None:
        """Tell those who wait how many are before them, where that has changed."""
        waiting = 0
        before: dict[Job, float] = {}
        for image in self._fairness.images():
            before.setdefault(image.job, 0.0)
            before[image.job] += self._seconds_left(image)
        wait = 0.0
        for position, (job, seconds) in enumerate(before.items()):
            waiting += not job.has_begun
            if not job.has_begun and (job.told is None or job.told.position != position):
                job.told = Waits(position, wait, seconds)
                job.tell(job.told)
            wait += seconds
        self._metrics.queue_depth.set(waiting)

    def _seconds_left(self, image: Image) -> float:
        order = image.job.order
        return image.calls_left * order.rows * self._row_seconds(order.model)

    def _row_seconds(self, model: Model) -> float:
        return self._seconds_per_row.get(model, model.denoiser.profile.seconds_per_row)
