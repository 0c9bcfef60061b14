"""Inference on tensors, for both doors: find the model, check the request, ask the service, count."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from gateway.caller import Caller
from gateway.kserve.checking import read, reply_of, seconds_of
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.models import Models
from gateway.kserve.request import InferReply, InferRequest, Outcome
from gateway.kserve.statistics import Statistics, Times
from gateway.kserve.weighing import weighed


class Core:
    """What the doors share."""

    def __init__(self) -> None:
        self.models = Models()
        self.statistics = Statistics()

    async def infer(self, request: InferRequest, caller: Caller) -> InferReply:
        """The one reply. Raises ServiceError or BackendError."""
        times, caller = Times(), _in_time(request, caller)
        served, kind = await self.models.find(request.model, request.version, caller)
        with self._counting(served, times):
            inputs = await weighed(_weight(request), read, request, kind.description)
            times.inputs_read()
            outcome = await kind.infer(inputs, caller)
        return self._done(request, served, outcome, times)

    async def stream(self, request: InferRequest, caller: Caller) -> AsyncGenerator[InferReply, None]:
        """The replies as they come; closing it cancels the call. Raises as ``infer``, also after some."""
        times, caller = Times(), _in_time(request, caller)
        served, kind = await self.models.find(request.model, request.version, caller)
        last: Outcome | None = None
        with self._counting(served, times):
            inputs = await weighed(_weight(request), read, request, kind.description)
            times.inputs_read()
            async with aclosing(_outcomes(kind, inputs, caller)) as outcomes:
                async for outcome in outcomes:
                    if outcome.is_last:
                        last = outcome  # told once the call has ended well
                    else:
                        yield reply_of(request, outcome, _version(served, outcome))
        if last is not None:
            yield self._done(request, served, last, times)

    @contextlib.contextmanager
    def _counting(self, served: Served, times: Times) -> Iterator[None]:
        """Counts whatever ends the block before its end, a caller that leaves among it."""
        try:
            yield
        except BaseException:
            self.statistics.failed(served.model.name, served.model.version, times)
            raise

    def _done(self, request: InferRequest, served: Served, outcome: Outcome, times: Times) -> InferReply:
        times.answered()
        version = _version(served, outcome)
        reply = reply_of(request, outcome, version)
        rows, usage = outcome.rows, outcome.usage
        self.statistics.succeeded(served.model.name, version, rows, usage, times)
        return reply


def _weight(request: InferRequest) -> int:
    return sum(given.weight for given in request.inputs)


def _in_time(request: InferRequest, caller: Caller) -> Caller:
    seconds = seconds_of(request.parameters)
    return caller if seconds is None else caller.within(seconds)


async def _outcomes(kind: Kind, inputs: Inputs, caller: Caller) -> AsyncGenerator[Outcome, None]:
    if kind.stream is None:
        yield await kind.infer(inputs, caller)
        return
    async with aclosing(kind.stream(inputs, caller)) as outcomes:
        async for outcome in outcomes:
            yield outcome


def _version(served: Served, outcome: Outcome) -> str:
    """The version that answered, which an alias may just have moved to; an adapter's is its own."""
    answered = "" if served.base else outcome.usage.version
    return answered or served.model.version
