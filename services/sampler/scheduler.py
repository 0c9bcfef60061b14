"""Decides who runs in the next steps: bounded waiting, fair turns, nothing for callers who left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from collections.abc import Sequence as Rows
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from weakref import WeakKeyDictionary

from services.common.errors import Code, Reason, ServiceError, draining, overloaded
from services.common.metrics import Metrics
from services.common.tracing import spans
from services.sampler.engine import Engine, Figures, Output
from services.sampler.sequence import Sequence
from services.sampler.turn import Turn

_SMOOTHING = 0.1
"""Weight of the newest run in the running mean of run times."""


@dataclass(frozen=True)
class Limits:
    """How much a scheduler takes on."""

    running: int = 128
    """Sequences that share steps."""
    waiting: int = 512
    """Sequences that wait."""
    pace_seconds: float = 0.0
    """How long tokens of a running sequence gather before its caller is told; 0: one step."""


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
    untold: Output = field(default_factory=Output)
    """What its caller has not been told yet."""
    told: float = 0.0
    """When its caller was last told something, or the sequence began."""

    def tell(self, now: float) -> None:
        """Let the caller have all there is."""
        self.told = now
        if self.untold.is_empty:
            return
        output, self.untold = self.untold, Output()
        error, output.error = output.error, None
        if not output.is_empty:
            self.ticket.put((self.place, output))
        if error is not None:
            self.ticket.put(error)


class Ticket:
    """One request's place: wait until it ``begun``, then iterate over what its sequences give.

    Leaving the ``async with`` block, however it ends, frees the place within one step.
    """

    def __init__(
        self,
        engine: Engine,
        sequences: Rows[Sequence],
        deadline: float | None,
        now: float,
        leave: Callable[[], None],
    ) -> None:
        """``leave`` tells the scheduler that the caller has gone."""
        self._leave = leave
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
        if self.began is not None:
            facts: spans.Attributes = {"pequod.model": self.engine.name, "pequod.batch.rows": self.batch_rows}
            spans.record("steps", self.began, self.ended, {**facts, "pequod.sequences": len(self.rows)})
        self.departed = True
        self._leave()

    async def begun(self) -> None:
        """Return when the first sequence joins a step. Raises what ended the request before that."""
        try:
            event = await self._events.get()
        finally:
            spans.record("queue", self.submitted, time.monotonic() if self.began is None else self.began)
        if isinstance(event, BaseException):
            raise event

    async def outputs(self) -> AsyncIterator[tuple[int, Output]]:
        """(place, output) after each turn, until every sequence has finished. Raises what went wrong."""
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

    def end(self, error: ServiceError) -> None:
        """For the scheduler: no more steps; the caller gets what there is, then the error."""
        for row in self.rows:
            row.tell(self.ended)
        self.put(error)


class Scheduler:
    """Runs sequences of all engines in one worker thread, a turn at a time, engines in rotation."""

    def __init__(self, metrics: Metrics, limits: Limits | None = None) -> None:
        self._metrics = metrics
        self._limits = limits or Limits()
        self._waiting: deque[_Row] = deque()
        self._running: OrderedDict[Engine, list[_Row]] = OrderedDict()
        self._work = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None
        self._turn: Turn | None = None
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
            row.ticket.end(draining())
        self._worker.shutdown()

    def submit(self, engine: Engine, sequences: Rows[Sequence], deadline: float | None) -> Ticket:
        """Queue a request that must end by ``deadline`` (``time.monotonic``). UNAVAILABLE when full."""
        now = time.monotonic()
        ahead = len(self._waiting)
        if ahead + len(sequences) > self._limits.waiting + self._idle_places():
            turns = (ahead + len(sequences)) / self._limits.running
            raise overloaded(f"{ahead} sequences wait already", max(turns * self._mean_run_seconds, 0.01))
        ticket = Ticket(engine, sequences, deadline, now, self._interrupt)
        if self._idle_places() > 0:
            self._interrupt()
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
                await self._take_turn(*self._next_batch())
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
            ticket.end(ServiceError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed"))
        return ticket.departed

    def _admit(self) -> None:
        """Let the longest waiting join while there are places."""
        now = time.monotonic()
        while self._waiting and self._idle_places() > 0:
            row = self._waiting.popleft()
            row.began = row.told = now
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

    def _interrupt(self) -> None:
        """Look again after the step that runs."""
        if self._turn is not None:
            self._turn.interrupted = True

    async def _take_turn(self, engine: Engine, rows: list[_Row]) -> None:
        """Run steps in the worker thread and hand out what they gave."""
        new = {place for place, row in enumerate(rows) if row.last_token is None}
        sequences = [row.sequence for row in rows]
        turn = self._turn = Turn(engine, sequences, new, self._turn_seconds(rows))
        outputs = await asyncio.get_running_loop().run_in_executor(self._worker, turn.run)
        self._turn = None
        for seconds in turn.step_seconds:
            self._metrics.compute_seconds.labels(engine.name).observe(seconds)
            self._metrics.batch_rows.observe(len(rows))
        self._metrics.generated_tokens.labels(engine.name).inc(sum(len(output.ids) for output in outputs))
        self._record_cache(engine)
        now = time.monotonic()
        # All at once: a message each at its own time would end a turn each.
        due = self._next_due(rows) <= now
        for row, output in zip(rows, outputs, strict=True):
            self._deliver(row, output, len(rows), now, due)

    def _next_due(self, rows: list[_Row]) -> float:
        """When the one who has waited longest is to be told something."""
        return min(row.told for row in rows) + self._limits.pace_seconds

    def _turn_seconds(self, rows: list[_Row]) -> float:
        """Until callers are to be told something or a deadline passes; one step while engines alternate."""
        if len(self._running) > 1:
            return 0.0
        deadlines = [row.ticket.deadline for row in rows if row.ticket.deadline is not None]
        return min([self._next_due(rows), *deadlines]) - time.monotonic()

    def _deliver(self, row: _Row, output: Output, batch_rows: int, now: float, due: bool) -> None:
        ticket = row.ticket
        ticket.ended = now
        ticket.batch_rows = max(ticket.batch_rows, batch_rows)
        is_first = row.last_token is None
        self._record(row, len(output.ids), now)
        row.untold.add(output)
        is_over = output.finish is not None or output.error is not None
        if due or is_first or is_over:
            row.tell(now)
        if is_over:
            ticket.departed = ticket.departed or output.error is not None
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
