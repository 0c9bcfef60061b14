"""The places of a service: who waits, who is let in next, who is turned away, and how many places help."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway.gate import Gate
from gateway.past import Stay
from gateway.principal import EVERYBODY, Principal, Priority
from pequod.common.v1 import Usage
from services.common.errors import Code, Reason, ServiceError

FLOOD, QUIET = Principal(tenant="flood"), Principal(tenant="quiet")


def stay(seconds, usage=None, *, spent=0.0, waited=0.0):
    """A call that had its place for ``seconds``, a share ``spent`` of its time; from 1 on it is late."""
    given = seconds / spent if spent else math.inf
    return Stay(seconds, seconds - waited, given, spent < 1, usage)


class Crowd:
    """Calls that wait at a gate, and the order in which they are let in."""

    def __init__(self, gate):
        self.gate = gate
        self.order = []
        self.tasks = {}

    async def come(self, name, principal, seconds=60):
        async def wait():
            await self.gate.wait(principal, seconds)
            self.order.append(name)

        self.tasks[name] = asyncio.create_task(wait())
        await settle()

    async def refusal(self, name):
        with pytest.raises(ServiceError) as caught:
            await self.tasks[name]
        return caught.value


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd():
    """A gate with one place, taken, and room for four to wait."""
    made = Crowd(Gate(places=1, queue=4))
    made.gate.enter()
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_a_quiet_tenant_overtakes_a_flood(crowd):
    for number in range(3):
        await crowd.come(f"flood {number}", FLOOD)
    await crowd.come("quiet", QUIET)
    for _ in range(2):
        crowd.gate.leave(FLOOD, stay(0.1))
        await settle()
    assert crowd.order == ["flood 0", "quiet"]
    assert (crowd.gate.inflight, crowd.gate.queued) == (1, 2)


async def test_priority_goes_first(crowd):
    await crowd.come("low", Principal(tenant="a", priority=Priority.LOW))
    await crowd.come("high", Principal(tenant="b", priority=Priority.HIGH))
    crowd.gate.leave(EVERYBODY, stay(0.1))
    await settle()
    crowd.gate.leave(EVERYBODY, stay(0.1))
    await settle()
    assert crowd.order == ["high", "low"]
    assert crowd.gate.queued == 0


async def test_a_full_queue_turns_the_flood_away_for_one_that_has_less(crowd):
    for number in range(4):
        await crowd.come(f"flood {number}", FLOOD)
    await crowd.come("flood 4", FLOOD)
    error = await crowd.refusal("flood 4")
    assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.OVERLOADED)
    assert error.retry_after > 0
    await crowd.come("quiet", QUIET)
    assert (await crowd.refusal("flood 3")).reason is Reason.OVERLOADED
    assert crowd.gate.queued == 4
    crowd.gate.leave(FLOOD, stay(0.1))
    await settle()
    crowd.gate.leave(FLOOD, stay(0.1))
    await settle()
    assert "quiet" in crowd.order


async def test_tenants_with_equal_shares_turn_nobody_away(crowd):
    for number in range(2):
        await crowd.come(f"flood {number}", FLOOD)
        await crowd.come(f"quiet {number}", QUIET)
    await crowd.come("more", QUIET)
    assert (await crowd.refusal("more")).reason is Reason.OVERLOADED
    assert crowd.gate.queued == 4


async def test_a_wait_that_would_be_too_long_is_refused_at_once(crowd):
    for _ in range(100):
        crowd.gate.enter()
        crowd.gate.leave(EVERYBODY, stay(10.0))
    await crowd.come("hasty", QUIET, seconds=0.5)
    error = await crowd.refusal("hasty")
    assert error.reason is Reason.OVERLOADED
    assert error.retry_after > 0.5


async def test_a_deadline_that_passes_in_the_queue_ends_the_wait(crowd):
    await crowd.come("late", QUIET, seconds=0.1)
    error = await crowd.refusal("late")
    assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, Reason.DEADLINE)
    assert crowd.gate.queued == 0


async def test_a_caller_that_leaves_while_it_is_let_in_passes_its_place_on(crowd):
    await crowd.come("first", FLOOD)
    await crowd.come("second", FLOOD)
    crowd.gate.leave(FLOOD, stay(0.1))  # the place is the first's, which does not know yet
    crowd.tasks["first"].cancel()
    await settle()
    assert crowd.order == ["second"]
    assert crowd.gate.inflight == 1


async def test_a_caller_that_leaves_the_queue_is_forgotten(crowd):
    await crowd.come("gone", FLOOD)
    await crowd.come("next", FLOOD)
    crowd.tasks["gone"].cancel()
    await settle()
    crowd.gate.leave(FLOOD, stay(0.1))
    await settle()
    assert crowd.order == ["next"]


async def test_places_shrink_while_the_service_itself_has_a_queue():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(400):
        gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(queue_ms=100, compute_ms=50)))
    assert before > gate.places == 8


async def test_who_shares_steps_may_wait_for_one():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(100):
        gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(queue_ms=50, compute_ms=50, batch_rows=8)))
    assert gate.places == before
    gate.enter()
    gate.leave(EVERYBODY, stay(0.1, Usage(queue_ms=60, compute_ms=50, batch_rows=8)))
    assert gate.places < before


async def test_places_grow_while_all_are_taken_and_nothing_waits_there():
    gate = Gate(places=100, queue=10)
    before = gate.places
    for _ in range(300):
        gate.enter()
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(compute_ms=50)))
    assert before < gate.places == 100


async def test_after_the_first_queue_places_grow_by_one_for_a_round_of_calls():
    gate = Gate(places=512, queue=10)
    for _ in range(400):
        gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(queue_ms=100, compute_ms=50)))
    for _ in range(gate.places):
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(compute_ms=50)))
    assert gate.places in (8, 9)
    for _ in range(100):
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(compute_ms=50)))
    assert 12 < gate.places < 18


async def test_places_shrink_while_deadlines_pass_in_mid_work():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(100):
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, stay(3.0, Usage(compute_ms=3000, batch_rows=64), spent=1.0))
    assert before > gate.places == 8


async def test_places_do_not_grow_when_calls_need_most_of_their_time():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for spent, grown in ((0.6, False), (0.4, True)):
        for _ in range(before):
            while gate.free:
                gate.enter()
            gate.leave(EVERYBODY, stay(1.0, Usage(compute_ms=1000, batch_rows=64), spent=spent))
        assert (gate.places > before) is grown


async def test_who_gives_no_time_takes_no_places_from_others():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(100):
        gate.enter()
        gate.leave(QUIET, stay(1.0))
    for _ in range(400):
        gate.enter()
        gate.leave(FLOOD, stay(0.01, spent=1.0))
    assert gate.places == before


async def test_who_is_late_for_reading_slowly_takes_no_places_from_others():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(100):
        gate.enter()
        gate.leave(FLOOD, stay(3.0, spent=1.0, waited=2.5))
    assert gate.places == before
    for _ in range(100):
        gate.enter()
        gate.leave(FLOOD, stay(3.0, spent=1.0, waited=0.5))
    assert gate.places < before


async def test_what_is_cut_short_or_fails_says_nothing_of_the_places():
    gate = Gate(places=512, queue=10)
    before = gate.places
    for _ in range(100):
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, Stay(0.1, 0.1, given=1.0, done=False))
    assert gate.places == before


async def test_places_grow_for_slow_readers_whose_work_is_quick():
    gate = Gate(places=100, queue=10)
    before = gate.places
    for _ in range(100):
        while gate.free:
            gate.enter()
        gate.leave(EVERYBODY, stay(0.9, Usage(compute_ms=50), spent=0.9, waited=0.8))
    assert gate.places > before


async def test_calls_that_others_cut_short_do_not_make_a_call_seem_short(crowd):
    for _ in range(100):
        crowd.gate.enter()
        crowd.gate.leave(QUIET, stay(10.0))
    for _ in range(100):
        crowd.gate.enter()
        crowd.gate.leave(QUIET, Stay(0.01, 0.01, done=False))
    await crowd.come("hasty", QUIET, seconds=5)
    assert (await crowd.refusal("hasty")).reason is Reason.OVERLOADED


async def test_places_stay_while_the_service_is_idle():
    gate = Gate(places=100, queue=10)
    before = gate.places
    for _ in range(300):
        gate.enter()
        gate.leave(EVERYBODY, stay(0.1, Usage(compute_ms=50)))
    assert gate.places == before


async def test_dear_calls_count_for_more():
    gate = Gate(places=1, queue=100)
    for _ in range(200):
        gate.enter()
        gate.leave(FLOOD, stay(0.4))
        gate.enter()
        gate.leave(QUIET, stay(0.1))
    gate.enter()
    crowd = Crowd(gate)
    for number in range(20):
        await crowd.come(("dear", number), FLOOD)
        await crowd.come(("cheap", number), QUIET)
    for _ in range(20):
        gate.leave(EVERYBODY, stay(0.25))
        await settle()
    cheap = sum(kind == "cheap" for kind, _ in crowd.order)
    assert 14 <= cheap <= 18  # four of five
    for task in crowd.tasks.values():
        task.cancel()
    await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)
