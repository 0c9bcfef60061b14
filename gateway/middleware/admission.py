"""A bounded number of calls in flight for each service, and a bounded, fair queue before it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable

from gateway.call import Call
from gateway.gate import Gate
from gateway.middleware.waits import CallerWaits
from gateway.past import Stay
from gateway.pipeline import Proceed
from gateway.settings import Policy
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.tracing import spans

_MOMENT = 0.5
"""Seconds after its deadline for which a stream may go on until it is cut."""


class Admission:
    """Holds a place of the call's service while the rest of the pipeline runs."""

    def __init__(self, services: Iterable[str], policy: Policy, metrics: Metrics) -> None:
        self._gates = {name: Gate(policy.max_inflight, policy.max_queue) for name in services}
        self._metrics = metrics
        for name, gate in self._gates.items():
            metrics.inflight.labels(name).set_function(functools.partial(getattr, gate, "inflight"))
            metrics.places.labels(name).set_function(functools.partial(getattr, gate, "places"))
        metrics.queue_depth.set_function(lambda: sum(gate.queued for gate in self._gates.values()))

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Raises UNAVAILABLE, reason OVERLOADED, when there is neither place nor queue."""
        if _only_watches(call):
            await proceed(call)
            return
        gate = self._gates[call.method.service]
        arrived = time.monotonic()
        if gate.free:
            gate.enter()
            entered = arrived
        else:
            with spans.span("admission queue", {"pequod.service": call.method.service}):
                await gate.wait(call.principal, call.deadline - arrived)
            entered = time.monotonic()
            self._metrics.queue_seconds.observe(entered - arrived)
        waits, done = CallerWaits.of(call), False
        try:
            await (_in_time(call, proceed) if waits else proceed(call))
            done = True
        finally:
            held = time.monotonic() - entered
            served = max(0.0, held - waits.seconds) if waits else held
            gate.leave(call.principal, Stay(held, served, call.deadline - entered, done, call.usage))


async def _in_time(call: Call, proceed: Proceed) -> None:
    """Take a stream further. One whose reader stands still ends, too, and gives its place back.

    gRPC ends such a call itself; through HTTP nobody else would while a reply waits to be taken.
    Raises DEADLINE, a moment after the service and gRPC have had the time to say it better.
    """
    try:
        async with asyncio.timeout(call.deadline - time.monotonic() + _MOMENT) as patience:
            await proceed(call)
    except TimeoutError:
        if not patience.expired():
            raise
        what = "the deadline passed while a reply waited to be read"
        raise ServiceError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE, what) from None


def _only_watches(call: Call) -> bool:
    """Waiting for events is no work: watchers would hold all places for hours."""
    return call.method.path.rpartition("/")[2].startswith("Watch")
