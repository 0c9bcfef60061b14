"""The places of one service: as many calls at a time as it works on, the others wait in a fair queue.

How many places help is found out: while calls wait in the service's own queue, which knows no tenants, or
share its steps with so many that their deadlines pass in mid-work, there are too many; while all are taken
and none waits there, there may be too few. (Additive increase, multiplicative decrease: Chiu and Jain, 1989.)

Two times matter. How long a call has its place says how long others wait for one, and what it costs them. How
long the service had it, without the waits for a slow caller, says whether the service is crowded.
"""

from __future__ import annotations

import asyncio
import time

from gateway.fair import FairQueue
from gateway.past import Past, Stay
from gateway.principal import Principal
from gateway.trial import Trial
from pequod.common.v1 import Usage
from services.common.errors import Code, Reason, ServiceError, overloaded

_FIRST_PLACES = 64
_LEAST_PLACES = 8
_DECREASE = 0.95
_TIGHT = 0.5
"""Share of its time that a call needs of the service: more company would bring it near its deadline."""
_QUEUED_MS = 2.0
"""A wait in a service shorter than this is none."""


class _Waiting:
    """A call in the queue."""

    __slots__ = ("deadline", "flow", "turn")

    def __init__(self, flow: str, deadline: float) -> None:
        self.flow = flow
        self.deadline = deadline  # on the clock of time.monotonic
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Gate:
    """At most ``places`` calls at a time and ``queue`` that wait."""

    def __init__(self, places: int, queue: int) -> None:
        self.inflight = 0
        self.most = places
        self._least = min(_LEAST_PLACES, places)
        self._limit = float(min(places, _FIRST_PLACES))
        self._searching = True
        """Until there were too many for the first time; from then on one more for a whole round of calls."""
        self._queue = queue
        self._waiting: FairQueue[_Waiting] = FairQueue()
        self._past = Past()
        self._trial = Trial(self._least)

    @property
    def places(self) -> int:
        """How many calls it lets through now."""
        return int(self._limit)

    @property
    def queued(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiting)

    @property
    def free(self) -> bool:
        """Whether a call may go on at once."""
        return self.inflight < self.places and not self._waiting

    def expected_wait(self, flow: str) -> float:
        """Seconds that a call of ``flow`` joining the queue would wait, if places go on being held as long.

        Every other tenant with as much waiting goes in between; who has more waits for its own surplus.
        """
        before = min(self.queued, (self._waiting.waiting(flow) + 1) * max(1, self._waiting.flows()))
        return (before + 1) * self._past.all.held / self.places

    def enter(self) -> None:
        """Take a free place."""
        self.inflight += 1

    async def wait(self, principal: Principal, seconds: float) -> None:
        """Queue for a place and take it.

        Raises OVERLOADED at once when wait and work would outlast ``seconds``, or the queue is full of calls
        of tenants with no more than one's own; later when a tenant with less needs the room, or too little
        time is left for the work; DEADLINE when the wait did outlast it.
        """
        flow = principal.tenant
        expected = self.expected_wait(flow)
        late = expected + self._work(flow) > seconds
        if late or (len(self._waiting) >= self._queue and not self._make_room(flow)):
            raise overloaded("too many calls are waiting", expected)
        waiting = _Waiting(flow, time.monotonic() + seconds)
        cost = self._past.of(flow).held / self._past.all.held
        self._waiting.push(waiting, flow, principal.priority, cost)
        try:
            async with asyncio.timeout(seconds):
                await waiting.turn
        except BaseException as error:
            self._give_up(waiting)
            if isinstance(error, TimeoutError):
                raise ServiceError(
                    Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed while waiting for a place"
                ) from None
            raise

    def leave(self, principal: Principal, stay: Stay) -> None:
        """Give a place back."""
        tenant, late = principal.tenant, self._past.crowded(stay)
        if late:
            self._too_many(tenant)
        elif stay.usage is not None and not stay.missed:
            may_grow = stay.served < _TIGHT * stay.given and not self._trial.under_way
            self._adapt(stay.usage, may_grow=may_grow)
        self._past.add(tenant, stay)
        self._pass_on()
        if self._trial.under_way and (late or stay.done):
            now = time.monotonic()
            self._trial.left(tenant, late=late, entered=now - stay.held, inflight=self.inflight, now=now)

    def _pass_on(self) -> None:
        self.inflight -= 1
        now = time.monotonic()
        while self.inflight < self.places and self._waiting:
            waiting = self._waiting.pop()
            if waiting.turn.done():
                continue
            if now + self._work(waiting.flow) > waiting.deadline:
                # It would take the place of one that can still be served in time.
                waiting.turn.set_exception(overloaded("too late to begin", self.expected_wait(waiting.flow)))
                continue
            waiting.turn.set_result(None)
            self.inflight += 1

    def _work(self, flow: str) -> float:
        """Seconds that a call of ``flow`` is likely to take; no more than all tenants' calls do on average.

        Whoever sends long and short calls should not have the short ones refused for the long.
        """
        return min(self._past.of(flow).whole, self._past.all.whole)

    def _make_room(self, flow: str) -> bool:
        """Let the last call of the tenant that has most waiting go, if that is more than ``flow`` has."""
        if not self._waiting:
            return False
        name, count, last = self._waiting.longest()
        if name == flow or count <= self._waiting.waiting(flow) + 1:
            return False
        self._waiting.remove(last)
        last.turn.set_exception(overloaded("too many calls are waiting", self.expected_wait(name)))
        return True

    def _give_up(self, waiting: _Waiting) -> None:
        turn = waiting.turn
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._pass_on()  # given a place while leaving
            return
        self._waiting.remove(waiting)

    def _adapt(self, usage: Usage, *, may_grow: bool) -> None:
        if usage.queue_ms > _usual_wait(usage):
            self._shrink()
        elif may_grow and self.inflight >= self.places:
            step = 1.0 if self._searching else 1.0 / self._limit
            self._limit = min(self.most, self._limit + step)

    def _too_many(self, tenant: str) -> None:
        """A call of ``tenant`` was late for its company, unless its calls are late in any."""
        if self._trial.excuses(tenant, time.monotonic()):
            return
        self._shrink()
        if self._limit <= self._least:
            self._trial.begin()

    def _shrink(self) -> None:
        self._limit = max(self._least, self._limit * _DECREASE)
        self._searching = False


def _usual_wait(usage: Usage) -> float:
    """Milliseconds of waiting in a service that are no queue.

    What shares steps with others waits for the step under way, and the next one fills meanwhile: fewer
    calls would only make smaller steps. What has a place for itself should hardly wait.
    """
    return max(_QUEUED_MS, usage.compute_ms if usage.batch_rows > 1 else usage.compute_ms / 16)
