"""Decides which sequences run in the next step: bounded waiting, fair turns, nothing for callers who left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from collections.abc import Sequence as Rows
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from weakref import WeakKeyDictionary

from services.common.errors import Code, Reason, ServiceError, overloaded
from services.common.metrics import Metrics
from services.sampler.engine import Engine, Figures, Output
from services.sampler.sequence import Sequence

_logger = logging.getLogger("pequod.sampler")
_SMOOTHING = 0.1
"""Weight of the newest run in the running mean of run times."""


@dataclass(frozen=True)
class Limits:
    """How much a scheduler takes on, in sequences."""

    running: int = 128
    waiting: int = 512


@dataclass(frozen=True)
class Timing:
    """What a request's usage says of its time."""

    queue_seconds: float
    compute_seconds: float
    batch_rows: int


@dataclass(eq=False)
class _Row:
    """A sequence on its way through the scheduler."""

    ticket: Ticket
    sequence: Sequence
    place: int
    began: float = 0.0
    last_token: float | None = None


class Ticket:
    """One request's place: wait until it ``begun``, then iterate over what its sequences give.

    Leaving the ``async with`` block, however it ends, frees the place within one step.
    """

    def __init__(self, engine: Engine, sequences: Rows[Sequence], deadline: float | None, now: float) -> None:
        self.engine = engine
        self.deadline = deadline
        self.submitted = now
        self.began: float | None = None
        self.ended = now
        self.batch_rows = 0
        self.departed = False
        self.rows = [_Row(self, sequence, place) for place, sequence in enumerate(sequences)]
        self._events: asyncio.Queue[tuple[int, Output] | BaseException | None] = asyncio.Queue()
        self._unfinished = len(self.rows)

    async def __aenter__(self) -> Ticket:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.departed = True

    async def begun(self) -> None:
        """Return when the first sequence joins a step. Raises what ended the request before that."""
        event = await self._events.get()
        if isinstance(event, BaseException):
            raise event

    async def outputs(self) -> AsyncIterator[tuple[int, Output]]:
        """(place, output) after each step, until every sequence has finished. Raises what went wrong."""
        while self._unfinished:
            event = await self._events.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                continue
            self._unfinished -= event[1].finish is not None
            yield event

    @property
    def timing(self) -> Timing:
        """Where the time went, so far."""
        began = self.ended if self.began is None else self.began
        return Timing(began - self.submitted, self.ended - began, self.batch_rows)

    def put(self, event: tuple[int, Output] | BaseException | None) -> None:
        """For the scheduler: an output, an error, or None for "begun"."""
        self._events.put_nowait(event)


class Scheduler:
    """Runs sequences of all engines in one worker thread, a step at a time, engines in rotation."""

    def __init__(self, metrics: Metrics, limits: Limits | None = None) -> None:
        self._metrics = metrics
        self._limits = limits or Limits()
        self._waiting: deque[_Row] = deque()
        self._running: OrderedDict[Engine, list[_Row]] = OrderedDict()
        self._work = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None
        self._mean_run_seconds = 0.05
        self._known: WeakKeyDictionary[Engine, Figures] = WeakKeyDictionary()

    def start(self) -> None:
        """Begin to run steps, on the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; whoever still waits is told that the service is going away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for row in [*self._waiting, *self._running_rows()]:
            row.ticket.put(ServiceError(Code.UNAVAILABLE, Reason.DRAINING, "the service is shutting down"))
        self._worker.shutdown()

    def submit(self, engine: Engine, sequences: Rows[Sequence], deadline: float | None) -> Ticket:
        """Queue a request that must end by ``deadline`` (``time.monotonic``). UNAVAILABLE when full."""
        now = time.monotonic()
        ahead = len(self._waiting)
        if ahead + len(sequences) > self._limits.waiting + self._idle_places():
            turns = (ahead + len(sequences)) / self._limits.running
            raise overloaded(f"{ahead} sequences wait already", max(turns * self._mean_run_seconds, 0.01))
        ticket = Ticket(engine, sequences, deadline, now)
        self._waiting.extend(ticket.rows)
        self._metrics.prompt_tokens.labels(engine.name).inc(len(sequences[0].plan.prompt))
        self._gauge()
        self._work.set()
        return ticket

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._drop_departed()
            self._admit()
            if self._running:
                await self._step(*self._next_batch())
            else:
                self._work.clear()
            self._gauge()

    def _drop_departed(self) -> None:
        """Free the places of callers who left or whose deadline passed."""
        now = time.monotonic()
        self._waiting = deque(row for row in self._waiting if not self._is_over(row, now))
        for row in [row for row in self._running_rows() if self._is_over(row, now)]:
            self._remove(row)

    def _is_over(self, row: _Row, now: float) -> bool:
        ticket = row.ticket
        if not ticket.departed and ticket.deadline is not None and now >= ticket.deadline:
            ticket.departed = True
            ticket.put(ServiceError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed"))
        return ticket.departed

    def _admit(self) -> None:
        """Let the longest waiting join while there are places."""
        now = time.monotonic()
        while self._waiting and self._idle_places() > 0:
            row = self._waiting.popleft()
            row.began = now
            self._running.setdefault(row.ticket.engine, []).append(row)
            if row.ticket.began is None:
                row.ticket.began = row.ticket.ended = now
                self._metrics.queue_seconds.observe(now - row.ticket.submitted)
                row.ticket.put(None)

    def _next_batch(self) -> tuple[Engine, list[_Row]]:
        """The engine whose turn it is, with its running rows."""
        engine = next(iter(self._running))
        self._running.move_to_end(engine)
        return engine, list(self._running[engine])

    async def _step(self, engine: Engine, rows: list[_Row]) -> None:
        """Run one step in the worker thread and hand out what it gave."""
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._worker, engine.step, [row.sequence for row in rows])
            if len(outputs) != len(rows):
                raise RuntimeError(f"{len(rows)} sequences went into a step, {len(outputs)} outputs came out")
        except Exception as error:
            _logger.exception("an engine step failed", extra={"model": engine.name})
            outputs = [Output(error=error) for _ in rows]
        self._metrics.compute_seconds.labels(engine.name).observe(time.perf_counter() - started)
        self._metrics.batch_rows.observe(len(rows))
        self._metrics.generated_tokens.labels(engine.name).inc(sum(len(output.ids) for output in outputs))
        self._record_cache(engine)
        now = time.monotonic()
        for row, output in zip(rows, outputs, strict=True):
            self._deliver(row, output, len(rows), now)

    def _deliver(self, row: _Row, output: Output, batch_rows: int, now: float) -> None:
        ticket = row.ticket
        ticket.ended = now
        ticket.batch_rows = max(ticket.batch_rows, batch_rows)
        self._record(row, len(output.ids), now)
        if output.error is not None:
            ticket.departed = True
            ticket.put(output.error)
        else:
            ticket.put((row.place, output))
        if output.finish is not None or output.error is not None:
            self._mean_run_seconds += _SMOOTHING * (now - row.began - self._mean_run_seconds)
            self._remove(row)

    def _record(self, row: _Row, tokens: int, now: float) -> None:
        if not tokens:
            return
        name = row.ticket.engine.name
        if row.last_token is None:
            self._metrics.time_to_first_token_seconds.labels(name).observe(now - row.ticket.submitted)
        else:
            self._metrics.inter_token_seconds.labels(name).observe((now - row.last_token) / tokens)
        row.last_token = now

    def _record_cache(self, engine: Engine) -> None:
        """Show how full the engine's cache is, and count what is new in its figures."""
        if engine.traits.is_ngram:
            return
        figures, known = engine.figures, self._known.setdefault(engine, Figures())
        self._metrics.kv_cache_used_ratio.labels(engine.name).set(figures.used_ratio)
        self._metrics.prefix_cache_hits.labels(engine.name).inc(figures.prefix_hits - known.prefix_hits)
        self._metrics.preemptions.labels(engine.name).inc(figures.preemptions - known.preemptions)
        self._known[engine] = replace(figures)

    def _remove(self, row: _Row) -> None:
        engine = row.ticket.engine
        engine.release(row.sequence)
        self._record_cache(engine)
        self._running[engine].remove(row)
        if not self._running[engine]:
            del self._running[engine]

    def _running_rows(self) -> Iterator[_Row]:
        return (row for rows in self._running.values() for row in rows)

    def _idle_places(self) -> int:
        return self._limits.running - sum(map(len, self._running.values()))

    def _gauge(self) -> None:
        self._metrics.queue_depth.set(len(self._waiting))
        self._metrics.sequences_running.set(sum(map(len, self._running.values())))
