"""Open loops count a stall for everyone whom it kept waiting; closed loops, the naive way, hide it."""

from __future__ import annotations

import asyncio

import pytest

from tests.load.core.callers import closed_loop, made, open_loop
from tests.load.core.judging import CallFailed, Left, WrongPayload
from tests.load.core.lag import LoopWatch, faults
from tests.load.core.outcome import Kind, Outcome, Record, Verdict
from tests.load.core.schedule import Arrival, Stretch, arrivals
from tests.load.core.summary import summary
from tests.unit.load.load_parts import StalledServer, VirtualLoop


def run(main):
    """Run ``main(record, loop)`` in virtual time; the record."""
    loop = VirtualLoop()
    try:
        record = Record(loop.time)
        loop.run_until_complete(main(record, loop))
        return record
    finally:
        loop.close()


def test_a_stall_shows_in_the_open_loop_and_not_in_the_naive_one():
    """The server stops for two of twenty seconds: a tenth of all callers wait, the naive loop is one."""
    due = list(arrivals([Stretch(50, 20)], {"echo": 1}, seed=1))

    async def opened(record, loop):
        await open_loop(record, due, {"echo": StalledServer(0.002, 10, 12)})

    async def naive(record, loop):
        await closed_loop(record, 1, 20.0, {"echo": 1}, {"echo": StalledServer(0.02, 10, 12)})

    honest, hidden = summary(run(opened).outcomes, 20), summary(run(naive).outcomes, 20)
    assert honest.asked == len(due)
    assert honest.latency.p99 == pytest.approx(1.8, abs=0.2)
    assert honest.latency.p90 > 0.1
    assert honest.lag.p99 == pytest.approx(0.0, abs=1e-6)
    assert hidden.asked > 800
    assert hidden.latency.p99 == pytest.approx(0.02, abs=1e-6)
    assert hidden.latency.most == pytest.approx(2.0, abs=0.05)


def test_a_client_that_lags_counts_from_the_due_time_and_is_told_of():
    due = [Arrival(0.1 * number, "echo") for number in range(100)]
    watch = LoopWatch()

    async def main(record, loop):
        async with watch.watching(record):
            loop.call_later(5.0, loop.busy, 3.0)
            await open_loop(record, due, {"echo": StalledServer(0.001, 99, 99)})

    record = run(main)
    latest = max(record.outcomes, key=lambda outcome: outcome.lag)
    assert latest.lag == pytest.approx(3.0, abs=0.15)
    assert latest.latency >= latest.lag
    assert any("began" in fault for fault in faults(record.outcomes, watch))


def test_a_client_that_keeps_up_has_no_faults():
    watch = LoopWatch()

    async def main(record, loop):
        async with watch.watching(record):
            await open_loop(record, [Arrival(0.5, "echo")], {"echo": StalledServer(0.3, 99, 99)})

    record = run(main)
    assert watch.late
    assert faults(record.outcomes, watch) == []


def test_a_busy_event_loop_is_a_fault_by_itself():
    watch = LoopWatch(late=[0.2] * 100)
    found = faults([Outcome("a", "", 0.0, 0.0, 1.0, Verdict(Kind.OK))], watch)
    assert found == ["the client's event loop was 200 ms late (p99, allowed 50)"]


def test_a_run_without_calls_says_nothing():
    assert faults([], LoopWatch()) == ["no call was due"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, Kind.OK),
        (WrongPayload("12 bytes"), Kind.WRONG),
        (Left(), Kind.CANCELLED),
        (TimeoutError(), Kind.LATE),
        (CallFailed("RESOURCE_EXHAUSTED", "slow down", "LIMIT_REACHED", 1.5), Kind.REFUSED),
        (CallFailed("UNAVAILABLE", "gone", "BACKEND_DOWN", 1.0), Kind.FAILED),
        (CallFailed("UNAVAILABLE", "who knows"), Kind.FAILED),
        (CallFailed("DEADLINE_EXCEEDED", "too late", "DEADLINE"), Kind.LATE),
        (CallFailed("INTERNAL", "a bug"), Kind.FAILED),
        (KeyError("a bug of ours"), Kind.FAILED),
    ],
)
def test_calls_are_kept_by_how_they_ended(error, kind):
    async def call(marks):
        marks.piece()
        if error is not None:
            raise error

    async def main(record, loop):
        await made(record, "echo", call, record.now(), "quiet")

    [outcome] = run(main).outcomes
    assert outcome.kind is kind
    assert (outcome.call, outcome.group, outcome.tokens) == ("echo", "quiet", 1)
    assert (outcome.verdict.retry_after == 1.5) == (kind is Kind.REFUSED)


def test_who_is_refused_waits_as_long_as_it_was_told():
    async def call(marks):
        await asyncio.sleep(0.001)
        raise CallFailed("UNAVAILABLE", "full", "OVERLOADED", 2.0)

    async def obedient(record, loop):
        await closed_loop(record, 3, 10.0, {"a": 1}, {"a": call})

    async def deaf(record, loop):
        await closed_loop(record, 3, 10.0, {"a": 1}, {"a": call}, pause=0.1)

    assert len(run(obedient).outcomes) == 3 * 5
    assert len(run(deaf).outcomes) > 3 * 90


def test_pieces_of_a_stream_have_their_times():
    async def call(marks):
        for seconds, tokens in ((0.5, 1), (0.1, 3), (0.2, 3)):
            await asyncio.sleep(seconds)
            marks.piece(tokens)

    async def main(record, loop):
        await open_loop(record, [Arrival(0.0, "a")], {"a": call}, start=1.0)

    [outcome] = run(main).outcomes
    assert outcome.due == 1.0
    assert outcome.to_first == pytest.approx(0.5)
    assert outcome.gaps == pytest.approx((0.1, 0.2))
    assert outcome.tokens == 7
