"""A request at work: its images in the making, and what its caller is to be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from types import TracebackType

from services.common.errors import ServiceError
from services.common.tracing import spans
from services.diffusion.engine import Adapter, Model
from services.diffusion.painting.painting import Painting
from services.diffusion.schedulers.levels import Array

Start = Callable[[tuple[tuple[int, float], ...]], Painting]
"""Begins an image, told where its adapters are: (place, scale) of each."""


@dataclass(frozen=True)
class Waits:
    """There are others first."""

    position: int
    wait_seconds: float
    run_seconds: float


@dataclass(frozen=True)
class Stepped:
    """One step of one image is done."""

    index: int
    step: int
    noise_level: float
    preview: Array | None


@dataclass(frozen=True)
class Finished:
    """One image is done."""

    index: int
    painted: Array


Event = Waits | Stepped | Finished


@dataclass(frozen=True)
class Order:
    """What is asked of the dispatcher."""

    model: Model
    starts: Rows[Start]
    """One for each image."""
    steps: int
    calls: int
    """Of one image."""
    rows: int
    """Of one call of an image, at most."""
    shape: tuple[int, ...]
    """Of the samples: only those of one shape share a call."""
    caller: str = ""
    deadline: float | None = None
    """On the clock of ``time.monotonic``."""
    adapters: Rows[tuple[Adapter, float]] = ()
    preview_every: int = 0


@dataclass(eq=False)
class Image:
    """One image of a job."""

    job: Job
    index: int
    painting: Painting | None = None
    """None until its first call."""
    is_done: bool = False
    """Whether its caller was told that it is finished."""

    @property
    def calls_left(self) -> int:
        """Of the network, for this image alone."""
        return self.job.order.calls - (self.painting.calls if self.painting else 0)


@dataclass(eq=False)
class Figures:
    """What a job took."""

    submitted: float
    began: float | None = None
    ended: float | None = None
    calls: int = 0
    rows: int = 0
    """Of all its calls, other jobs' included."""
    most_rows: int = 0


class Job:
    """Iterate over its events. Leaving the ``async with`` block, however it ends, frees its rows at once."""

    def __init__(self, order: Order, due: float, now: float, leave: Callable[[Job], None]) -> None:
        """``due``: when it should be finished, for the dispatcher to choose by."""
        self.order = order
        self.due = due
        self.figures = Figures(now)
        self.images = [Image(self, index) for index in range(len(order.starts))]
        self.held: list[Adapter] = []
        """Adapters that have a place in the network for this job."""
        self.places: tuple[tuple[int, float], ...] = ()
        self.is_over = False
        self.told: Waits | None = None
        self._leave = leave
        self._events: asyncio.Queue[Event | ServiceError | BaseException] = asyncio.Queue()

    async def __aenter__(self) -> Job:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trace()
        self._leave(self)

    def _trace(self) -> None:
        """Where its time went, as spans below the current one."""
        figures, now = self.figures, time.monotonic()
        began = now if figures.began is None else figures.began
        spans.record("queue", figures.submitted, began, {"pequod.images": len(self.images)})
        if figures.began is not None:
            facts: spans.Attributes = {
                "pequod.model": self.order.model.name,
                "pequod.batch.rows": figures.most_rows,
            }
            spans.record(
                "network calls", began, figures.ended or now, {**facts, "pequod.calls": figures.calls}
            )

    @property
    def has_begun(self) -> bool:
        """Whether one of its images was in a call."""
        return self.figures.began is not None

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until every image is finished. Raises what went wrong."""
        unfinished = len(self.images)
        while unfinished:
            event = await self._events.get()
            if isinstance(event, BaseException):
                raise event
            unfinished -= isinstance(event, Finished)
            yield event

    def tell(self, event: Event | BaseException) -> None:
        """For the dispatcher."""
        self._events.put_nowait(event)


@dataclass
class Account:
    """One caller's share of the work."""

    used: float = 0.0
    """Rows, as if all callers had the same chance all the time."""
    images: list[Image] = field(default_factory=list)
