"""Crowds at the places of a service, in virtual time: who is answered, and how many places are left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from gateway import gate as gate_module
from gateway.call import Call
from gateway.middleware.admission import Admission
from gateway.principal import Principal
from gateway.settings import Policy
from pequod.common.v1 import Usage
from services.common.errors import ServiceError
from services.common.metrics import Metrics
from tests.load.core.callers import closed_loop, open_loop
from tests.load.core.judging import CallFailed
from tests.load.core.outcome import Kind, Record
from tests.load.core.schedule import Stretch, arrivals
from tests.load.core.summary import between, summary
from tests.unit.gateway.fakes import GENERATE_STREAM, METHODS
from tests.unit.load.load_parts import VirtualLoop

TICK, WORK, DEADLINE = 0.01, 0.125, 3.0
CAPACITY = 1 / WORK
FIRST_PLACES, LEAST_PLACES = 64, 8


class SharedSteps:
    """A service whose calls share every step, as texts do: each of n goes on at an nth of the speed."""

    def __init__(self):
        self.left = {}

    async def serve(self):
        """Work for ever."""
        while True:
            await asyncio.sleep(TICK)
            for call in list(self.left):
                self.left[call] -= TICK / len(self.left)
            for call in [call for call, work in self.left.items() if work <= 0]:
                del self.left[call]
                call.set_result(None)

    async def answer(self, work):
        """``work``: seconds that it takes alone. Whoever leaves frees the place."""
        call = asyncio.get_running_loop().create_future()
        self.left[call] = work
        try:
            await call
        finally:
            self.left.pop(call, None)


class OwnSteps:
    """A service that is as quick for many as for one, as far as its callers' places go."""

    async def serve(self):
        """There is nothing to share."""

    async def answer(self, work):
        """``work``: seconds that it takes."""
        await asyncio.sleep(work)


@dataclass
class Reader:
    """Takes ``pause`` seconds for each piece."""

    pause: float

    async def begin(self, metadata):
        pass

    async def send(self, message):
        if self.pause:
            await asyncio.sleep(self.pause)


@dataclass(frozen=True)
class Kinds:
    """What calls of one tenant are like: ``work`` in ``pieces``."""

    tenant: str = "anyone"
    work: float = WORK
    deadline: float = DEADLINE
    pieces: int = 1
    pause: float = 0.0


class Place:
    """A service behind the step that admits calls to it."""

    def __init__(self, clock, service):
        self.record = Record(clock)
        self._clock, self._service, self._metrics = clock, service, Metrics("gateway")
        self._admission = Admission(["sampler"], Policy(max_inflight=512, max_queue=512), self._metrics)
        self._working = asyncio.create_task(self._service.serve())

    @property
    def places(self):
        return self._metrics.registry.get_sample_value("pequod_places", {"service": "sampler"})

    def caller(self, kind):
        """A call that goes through the step as the gateway's own do."""

        async def proceed(call):
            began = self._clock()
            async with asyncio.timeout(call.deadline - began):
                for _ in range(kind.pieces):
                    await self._service.answer(kind.work / kind.pieces)
                    await call.replies.send(b"")
            call.usage = Usage(compute_ms=1e3 * (self._clock() - began), batch_rows=8)

        async def call(_):
            made = Call(METHODS[GENERATE_STREAM], (), b"", None, Reader(kind.pause))
            made.principal, made.deadline = Principal(tenant=kind.tenant), self._clock() + kind.deadline
            try:
                await self._admission.handle(made, proceed)
            except ServiceError as error:
                raise CallFailed(error.code.name, str(error), error.reason, error.retry_after) from None

        return call

    async def callers(self, count, seconds, kind):
        """So many who call as soon as they are answered; what became of their calls."""
        until, calls = self.record.now() + seconds, {"a": self.caller(kind)}
        await closed_loop(self.record, count, until, {"a": 1}, calls, group=kind.tenant)
        return [outcome for outcome in self.record.outcomes if outcome.group == kind.tenant]

    async def close(self):
        self._working.cancel()


@pytest.fixture
def loop(monkeypatch):
    made = VirtualLoop()
    monkeypatch.setattr(gate_module.time, "monotonic", made.time)
    yield made
    monkeypatch.undo()
    made.close()


def played(loop, scene, service=SharedSteps):
    """What ``scene(place)`` returns."""

    async def main():
        place = Place(loop.time, service())
        try:
            return await scene(place)
        finally:
            await place.close()

    return loop.run_until_complete(main())


@pytest.mark.parametrize(("pieces", "pause"), [(1, 0.0), (4, 0.1)], ids=["at once", "in pieces"])
def test_goodput_stays_when_calls_share_steps(loop, pieces, pause):
    kind = Kinds(pieces=pieces, pause=pause)
    peak = summary(played(loop, lambda place: place.callers(8, 60.0, kind)), 60.0).goodput
    assert peak == pytest.approx(CAPACITY, rel=0.1)

    async def three_times_as_many(place):
        due = list(arrivals([Stretch(3 * CAPACITY, 90.0)], {"a": 1}, seed=1))
        await open_loop(place.record, due, {"a": place.caller(kind)})
        return place.record.outcomes, place.places

    outcomes, places = played(loop, three_times_as_many)
    over = summary(between(outcomes, 30.0, 90.0), 60.0)
    assert over.goodput >= 0.9 * peak
    assert over.hints_missing == 0
    assert over.count(Kind.REFUSED) > 0
    assert places < FIRST_PLACES


def test_who_reads_slowly_takes_no_places_from_others(loop):
    slow = Kinds("slow", work=0.02, pieces=4, pause=1.0)

    async def beside_others(place):
        reading = asyncio.create_task(place.callers(20, 60.0, slow))
        others = await place.callers(4, 60.0, Kinds("others"))
        return await reading, others, place.places

    read, others, places = played(loop, beside_others)
    assert {outcome.kind for outcome in read} == {Kind.LATE}
    assert {outcome.kind for outcome in others} == {Kind.OK}
    assert len(read) > 300
    assert places >= FIRST_PLACES


def test_who_is_late_in_any_company_takes_no_places_from_others(loop):
    """Its calls take longer than it gives them, those of the others are quick."""
    hopeless = Kinds("hopeless", work=1.5, deadline=1.0)
    quick = Kinds("quick", work=0.2, deadline=60.0)

    async def beside_others(place):
        calling = asyncio.create_task(place.callers(8, 60.0, hopeless))
        others = await place.callers(40, 60.0, quick)
        return await calling, others

    late, others = played(loop, beside_others, OwnSteps)
    assert not any(outcome.kind is Kind.OK for outcome in late)
    end = summary(between(others, 40.0, 60.0), 20.0)
    assert end.goodput >= 0.9 * 40 / 0.2
