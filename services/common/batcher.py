"""Turns single calls into batches for a blocking function in a worker thread, behind a bounded queue."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from services.common.batch_queue import BatchQueue, Entry, Limits
from services.common.errors import Code, Reason, ServiceError, draining, overloaded
from services.common.metrics import Metrics
from services.common.tracing import spans

__all__ = ["BatchMismatch", "Batcher", "Limits", "Served"]

log = logging.getLogger("pequod.batcher")

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds to suggest to a refused caller before any batch was timed, and at least.
_FIRST_GUESS, _SHORTEST_RETRY = 1.0, 0.01
# Weight of the newest batch in the running mean of seconds per unit of cost.
_NEWEST = 0.2


class BatchMismatch(RuntimeError):
    """The function answered with another number of results than it got items: a bug in it."""


class Batch(NamedTuple):
    """A batch that ran; the times are of ``time.monotonic``."""

    number: int
    """Of this process's queue of that name, from 1."""
    rows: int
    begin: float
    end: float


class Served(NamedTuple, Generic[Result]):
    """A result and what it took."""

    value: Result
    queue_ms: float
    """Milliseconds from submission until its batch began."""
    compute_ms: float
    """Milliseconds the whole batch ran."""
    batch_rows: int
    batch: Batch
    """The batch that it was in."""


class _Ran(NamedTuple, Generic[Result]):
    """What came back from the worker thread; the times are of ``time.monotonic``."""

    begin: float
    end: float
    outcome: list[Result | Exception] | Exception


class Batcher(Generic[Item, Result]):
    """Batches the items of concurrent callers; everything but ``function`` runs on one event loop.

    ``function`` takes a batch's items and returns as many results in their order. An exception
    it raises reaches every caller of that batch; an Exception in place of a result reaches that
    caller alone. ``cost`` weighs an item (default 1). With ``order`` (a length, say) a batch is
    the oldest item and those nearest to it in that order, so padding is short and nothing starves.
    """

    def __init__(
        self,
        function: Callable[[list[Item]], Iterable[Result | Exception]],
        limits: Limits | None = None,
        *,
        name: str,
        cost: Callable[[Item], float] | None = None,
        order: Callable[[Item], float] | None = None,
        metrics: Metrics | None = None,
        model: str = "",
    ) -> None:
        """``model``: whose compute seconds the metrics count; empty for work that no model does."""
        self._function = function
        self._limits = limits or Limits()
        self._name = name
        self._cost = cost or (lambda item: 1.0)
        self._order = order or (lambda item: 0.0)
        self._metrics = metrics
        self._model = model
        self._queue: BatchQueue[Item] = BatchQueue(self._limits, ordered=order is not None)
        self._batches = 0
        self._running = 0
        self._running_cost = 0.0
        self._seconds_per_cost: float | None = None
        self._wake_up: asyncio.Handle | None = None
        self._pump_is_next = False
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._threads = ThreadPoolExecutor(self._limits.workers, thread_name_prefix=f"{name}-batch")

    @property
    def depth(self) -> int:
        """Items waiting now."""
        return len(self._queue)

    async def submit(self, item: Item, deadline: float | None = None) -> Served[Result]:
        """The result of ``item``; see ``submit_many``."""
        return (await self.submit_many((item,), deadline))[0]

    async def submit_many(self, items: Sequence[Item], deadline: float | None = None) -> list[Served[Result]]:
        """The results of ``items``, admitted together or not at all, batched apart where need be.

        ``deadline`` is on the clock of ``time.monotonic``. Raises ServiceError: UNAVAILABLE with
        reason OVERLOADED when the queue is full, or DRAINING once closing; DEADLINE_EXCEEDED;
        INVALID_ARGUMENT for what could never fit. Cancelling frees the places at once; of a batch
        that already runs the result is dropped.
        """
        entries = self._admit(items, deadline)
        timer = self._expire_at(entries, deadline)
        try:
            with spans.span(self._name):
                served = [await entry.future for entry in entries]
                _trace(entries, served, self._model)
            return served
        finally:
            if timer:
                timer.cancel()
            self._leave(entries)

    async def close(self, drain: bool = True) -> None:
        """Refuse new items, finish those waiting (or refuse them too), wait for running batches."""
        self._closing = True
        if not drain:
            self._refuse(self._queue.entries(), "closing", draining)
        self._wake()
        finished = False
        try:
            await self._idle.wait()
            finished = True
        finally:
            self._threads.shutdown(wait=finished)

    def _admit(self, items: Sequence[Item], deadline: float | None) -> list[Entry[Item]]:
        now = time.monotonic()
        costs = [self._cost(item) for item in items]
        self._check_admission(costs, deadline, now)
        future = asyncio.get_running_loop().create_future
        entries = [
            Entry(item, cost, self._order(item), now, deadline, future())
            for item, cost in zip(items, costs, strict=True)
        ]
        self._queue.add(entries)
        self._count_depth(len(entries))
        self._idle.clear()
        self._wake()
        return entries

    def _check_admission(self, costs: Sequence[float], deadline: float | None, now: float) -> None:
        name, limits = self._name, self._limits
        if self._closing:
            raise draining(name)
        limits.check_fit(name, costs)
        if deadline is not None and deadline <= now:
            raise _too_late(name)
        if len(self._queue) + len(costs) > limits.max_queue:
            raise overloaded(f"{name}: {len(self._queue)} rows are waiting", self._backlog_seconds())

    def _backlog_seconds(self) -> float:
        """Seconds until all that waits and runs now is done, at the measured rate."""
        if self._seconds_per_cost is None:
            return _FIRST_GUESS
        backlog = self._queue.cost + self._running_cost
        return max(backlog * self._seconds_per_cost / self._limits.workers, _SHORTEST_RETRY)

    def _expire_at(self, entries: list[Entry[Item]], deadline: float | None) -> asyncio.TimerHandle | None:
        if deadline is None:
            return None
        delay = max(0.0, deadline - time.monotonic())
        return asyncio.get_running_loop().call_later(delay, self._refuse, entries, "deadline", _too_late)

    def _refuse(self, entries: list[Entry[Item]], reason: str, error: Callable[[str], ServiceError]) -> None:
        """End entries with an error, waiting or running; the waiting ones give up their places."""
        self._drop(entries, reason)
        for entry in entries:
            if not entry.future.done():
                entry.future.set_exception(error(self._name))

    def _leave(self, entries: list[Entry[Item]]) -> None:
        """The caller reads no more: whatever still waits is dropped."""
        self._drop(entries, "caller_left")
        for entry in entries:
            if entry.future.done() and not entry.future.cancelled():
                entry.future.exception()  # marks it as seen, or asyncio logs it as lost
            else:
                entry.future.cancel()

    def _drop(self, entries: list[Entry[Item]], reason: str) -> None:
        dropped = len(self._queue.remove(entries))
        self._count_depth(-dropped)
        if dropped and self._metrics:
            self._metrics.queue_dropped.labels(self._metrics.service, reason).inc(dropped)
        self._note_idle()

    def _wake(self) -> None:
        """Look at the queue in the loop's next round, so that calls of one round share a batch."""
        if self._pump_is_next:
            return
        if self._wake_up:
            self._wake_up.cancel()
        self._pump_is_next = True
        # An empty context: a batch belongs to no single caller's request id.
        self._wake_up = asyncio.get_running_loop().call_soon(self._pump, context=contextvars.Context())

    def _pump(self) -> None:
        self._wake_up, self._pump_is_next = None, False
        self._refuse_late()
        while self._queue and self._running < self._limits.workers:
            if (wait := self._wait_for_company()) > 0:
                self._wake_up = asyncio.get_running_loop().call_later(wait, self._pump)
                return
            self._start(self._queue.take())
        self._note_idle()

    def _wait_for_company(self) -> float:
        if self._closing or not self._limits.max_wait or self._queue.fills_a_batch():
            return 0.0
        return self._queue.oldest().queued_at + self._limits.max_wait - time.monotonic()

    def _refuse_late(self) -> None:
        """A busy loop fires its timers late, so look at the clock before work begins."""
        now = time.monotonic()
        waiting = self._queue.entries()
        late = [entry for entry in waiting if entry.deadline is not None and entry.deadline <= now]
        self._refuse(late, "deadline", _too_late)

    def _start(self, batch: list[Entry[Item]]) -> None:
        self._running += 1
        self._running_cost += sum(entry.cost for entry in batch)
        self._count_depth(-len(batch))
        items = [entry.item for entry in batch]
        ran = asyncio.get_running_loop().run_in_executor(self._threads, self._run, items)
        ran.add_done_callback(partial(self._finish, batch))

    def _run(self, items: list[Item]) -> _Ran[Result]:
        """Runs in a worker thread; an exception comes back as a value, whatever its kind."""
        outcome: list[Result | Exception] | Exception
        begin = time.monotonic()
        try:
            outcome = list(self._function(items))
            if len(outcome) != len(items):
                raise BatchMismatch(f"{self._name}: {len(items)} items in, {len(outcome)} results out")
        except Exception as error:
            outcome = error
        except BaseException as error:  # SystemExit ends the batch, not the worker
            outcome = RuntimeError(f"{self._name}: the batch ended with {error!r}")
        return _Ran(begin, time.monotonic(), outcome)

    def _finish(self, batch: list[Entry[Item]], done: asyncio.Future[_Ran[Result]]) -> None:
        ran = done.result()
        cost = sum(entry.cost for entry in batch)
        self._running -= 1
        self._running_cost = self._running_cost - cost if self._running else 0.0
        if cost:
            self._note_rate((ran.end - ran.begin) / cost)
        if self._metrics:
            self._metrics.batch_rows.observe(len(batch))
            if self._model:
                self._metrics.compute_seconds.labels(self._model).observe(ran.end - ran.begin)
            for entry in batch:
                self._metrics.queue_seconds.observe(ran.begin - entry.queued_at)
        self._deliver(batch, ran)
        self._wake()

    def _deliver(self, batch: list[Entry[Item]], ran: _Ran[Result]) -> None:
        if isinstance(ran.outcome, BatchMismatch):
            log.error("batch mismatch: %s", ran.outcome)
        values = [ran.outcome] * len(batch) if isinstance(ran.outcome, Exception) else ran.outcome
        self._batches += 1
        ran_as = Batch(self._batches, len(batch), ran.begin, ran.end)
        compute_ms = (ran.end - ran.begin) * 1e3
        for entry, value in zip(batch, values, strict=True):
            if entry.future.done():  # its caller left while it ran
                continue
            if isinstance(value, Exception):
                entry.future.set_exception(_settable(value))
            else:
                queue_ms = (ran.begin - entry.queued_at) * 1e3
                entry.future.set_result(Served(value, queue_ms, compute_ms, len(batch), ran_as))

    def _note_rate(self, seconds_per_cost: float) -> None:
        before = self._seconds_per_cost
        self._seconds_per_cost = (
            seconds_per_cost if before is None else before + _NEWEST * (seconds_per_cost - before)
        )

    def _note_idle(self) -> None:
        if not self._queue and not self._running:
            self._idle.set()

    def _count_depth(self, change: int) -> None:
        if change and self._metrics:
            self._metrics.queue_depth.inc(change)


def _trace(entries: Sequence[Entry[Item]], served: Sequence[Served[Result]], model: str) -> None:
    """Below the current span: how long these items waited, and each batch that they were in.

    All that shared a batch have its number, in whatever trace they are.
    """
    if spans.current() is None or not served:
        return
    batches = {each.batch.number: each.batch for each in served}
    spans.record(
        "queue",
        min(entry.queued_at for entry in entries),
        min(batch.begin for batch in batches.values()),
        {"pequod.rows": len(entries)},
    )
    for batch in batches.values():
        attributes: dict[str, spans.Value] = {
            "pequod.batch.number": batch.number,
            "pequod.batch.rows": batch.rows,
        }
        if model:
            attributes["pequod.model"] = model
        spans.record("batch", batch.begin, batch.end, attributes)


def _settable(error: Exception) -> Exception:
    """asyncio refuses StopIteration in a future; any other exception goes as it is."""
    return RuntimeError(f"the batch raised {error!r}") if isinstance(error, StopIteration) else error


def _too_late(name: str) -> ServiceError:
    return ServiceError(
        Code.DEADLINE_EXCEEDED, Reason.DEADLINE, f"{name}: the deadline passed before the result was there"
    )
