"""Three times as many calls as a service can answer, in virtual time: as many are answered as ever."""

from __future__ import annotations

import asyncio

import pytest

from gateway import gate as gate_module
from gateway.gate import Gate
from gateway.principal import EVERYBODY
from pequod.common.v1 import Usage
from services.common.errors import ServiceError
from tests.load.core.callers import closed_loop, open_loop
from tests.load.core.judging import CallFailed
from tests.load.core.outcome import Kind, Record
from tests.load.core.schedule import Stretch, arrivals
from tests.load.core.summary import between, summary
from tests.unit.load.load_parts import VirtualLoop

TICK, WORK, DEADLINE = 0.01, 0.125, 3.0
CAPACITY = 1 / WORK


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

    async def answer(self):
        """Whoever leaves frees the place."""
        call = asyncio.get_running_loop().create_future()
        self.left[call] = WORK
        try:
            await call
        finally:
            self.left.pop(call, None)


def caller(gate, service, clock):
    """A call through the gate, as the gateway makes it."""

    async def call(_):
        deadline = clock() + DEADLINE
        try:
            if gate.free:
                gate.enter()
            else:
                await gate.wait(EVERYBODY, DEADLINE)
        except ServiceError as error:
            raise CallFailed(error.code.name, str(error), error.reason, error.retry_after) from None
        entered, usage = clock(), None
        try:
            async with asyncio.timeout(deadline - entered):
                await service.answer()
            usage = Usage(compute_ms=1e3 * (clock() - entered), batch_rows=8)
        finally:
            held = clock() - entered
            gate.leave(EVERYBODY, held, usage, held / (deadline - entered))

    return call


@pytest.fixture
def loop(monkeypatch):
    made = VirtualLoop()
    monkeypatch.setattr(gate_module.time, "monotonic", made.time)
    yield made
    monkeypatch.undo()
    made.close()


def outcomes(loop, load):
    """What ``load(record, call)`` leaves."""

    async def main():
        service, record = SharedSteps(), Record(loop.time)
        working = asyncio.create_task(service.serve())
        await load(record, caller(Gate(512, 512), service, loop.time))
        working.cancel()
        return record.outcomes

    return loop.run_until_complete(main())


def test_goodput_stays_when_calls_share_steps(loop):
    peak = summary(outcomes(loop, lambda r, c: closed_loop(r, 8, 60.0, {"a": 1}, {"a": c})), 60.0).goodput
    assert peak == pytest.approx(CAPACITY, rel=0.1)
    due = list(arrivals([Stretch(3 * CAPACITY, 90.0)], {"a": 1}, seed=1))
    all_of_them = outcomes(loop, lambda r, c: open_loop(r, due, {"a": c}))
    over = summary(between(all_of_them, 30.0, 90.0), 60.0)
    assert over.goodput >= 0.9 * peak
    assert over.hints_missing == 0
    assert over.count(Kind.REFUSED) > 0
