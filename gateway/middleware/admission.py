"""A bounded number of calls in flight for each service, and a bounded queue before it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Iterable

from gateway.call import Call
from gateway.pipeline import Proceed
from gateway.settings import Policy
from services.common.errors import Code, Reason, ServiceError, overloaded
from services.common.metrics import Metrics

# Weight of the newest call in the running mean of how long a place is held.
_NEWEST = 0.05


class Gate:
    """The places of one service. First come, first served."""

    def __init__(self, places: int, queue: int) -> None:
        self.inflight = 0
        self._places = places
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held_seconds = 0.05

    @property
    def queued(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiting)

    @property
    def free(self) -> bool:
        """Whether a call may go on at once."""
        return self.inflight < self._places

    def expected_wait(self) -> float:
        """Seconds that a call joining the queue now would wait, if places go on being held as long."""
        return (len(self._waiting) + 1) * self._held_seconds / self._places

    def enter(self) -> None:
        """Take a free place."""
        self.inflight += 1

    async def wait(self, seconds: float) -> None:
        """Queue for a place and take it.

        Raises OVERLOADED at once when the queue is full or the wait would outlast ``seconds``,
        DEADLINE when it then did.
        """
        expected = self.expected_wait()
        if len(self._waiting) >= self._queue or expected > seconds:
            raise overloaded("too many calls are waiting", expected)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise ServiceError(
                    Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed while waiting for a place"
                ) from None
            raise

    def leave(self, held: float) -> None:
        """Give the place back after ``held`` seconds; the first waiting call takes it."""
        self._held_seconds += _NEWEST * (held - self._held_seconds)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place changes hands, inflight stays
                return
        self.inflight -= 1

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.leave(self._held_seconds)  # given a place while leaving: pass it on
            return
        with contextlib.suppress(ValueError):
            self._waiting.remove(turn)


class Admission:
    """Holds a place of the call's service while the rest of the pipeline runs."""

    def __init__(self, services: Iterable[str], policy: Policy, metrics: Metrics) -> None:
        self._gates = {name: Gate(policy.max_inflight, policy.max_queue) for name in services}
        self._metrics = metrics
        for name, gate in self._gates.items():
            metrics.inflight.labels(name).set_function(functools.partial(getattr, gate, "inflight"))
        metrics.queue_depth.set_function(lambda: sum(gate.queued for gate in self._gates.values()))

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Raises UNAVAILABLE, reason OVERLOADED, when there is neither place nor queue."""
        gate = self._gates[call.method.service]
        arrived = time.monotonic()
        if gate.free:
            gate.enter()
            entered = arrived
        else:
            await gate.wait(call.deadline - arrived)
            entered = time.monotonic()
            self._metrics.queue_seconds.observe(entered - arrived)
        try:
            await proceed(call)
        finally:
            gate.leave(time.monotonic() - entered)
