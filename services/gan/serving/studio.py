"""From drafts to finished images: drawn in shared calls, then enlarged and encoded in a lane of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import TypeVar

from services.common.metrics import Metrics
from services.common.work import Work
from services.gan.engine import Draft, Drawn, Model
from services.gan.serving.meter import Meter
from services.gan.serving.queues import Queues

WINDOW = 16
"""Images of one request that wait or are worked on at a time: others come in between, and a reader who is
slow holds no more than these."""

T = TypeVar("T")
Finish = Callable[[int, Drawn], T]
"""What becomes of image i; blocking."""


class Studio:
    """Draws the images of all requests."""

    def __init__(self, queues: Queues, lane: Work, metrics: Metrics) -> None:
        """``lane``: where images are finished, beside the networks' calls."""
        self._queues, self._lane, self._metrics = queues, lane, metrics

    async def draw(
        self, model: Model, drafts: Iterable[Draft], finish: Finish[T], deadline: float | None, meter: Meter
    ) -> AsyncGenerator[T, None]:
        """What ``finish`` makes of each image, in the order of the drafts. Closing it lets go of the rest."""
        at_work: deque[asyncio.Task[T]] = deque()
        try:
            for index, draft in enumerate(drafts):
                if len(at_work) == WINDOW:
                    yield await at_work.popleft()
                one = self.one(model, draft, partial(finish, index), deadline, meter)
                at_work.append(asyncio.create_task(one))
            while at_work:
                yield await at_work.popleft()
        finally:
            for task in at_work:
                task.cancel()
            if at_work:
                self._metrics.images_cancelled.labels(model.name).inc(len(at_work))
            await asyncio.gather(*at_work, return_exceptions=True)

    async def one(
        self, model: Model, draft: Draft, finish: Callable[[Drawn], T], deadline: float | None, meter: Meter
    ) -> T:
        """What ``finish`` makes of a single image."""
        drawn = await self._queues.draw(model).submit(draft, deadline)
        meter.note(drawn)
        finished = await self._lane.run(partial(finish, drawn.value), deadline)
        self._metrics.images_generated.labels(model.name).inc()
        return finished.value
