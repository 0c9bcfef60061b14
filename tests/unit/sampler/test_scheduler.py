"""The scheduler with an engine that does what it is told: order, bounds, departures, deadlines, failures."""

import asyncio
import threading
import time

import numpy as np
import pytest

from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.sampler.engine import Traits
from services.sampler.ngrams.alphabet import Characters
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.scheduler import Limits, Scheduler
from services.sampler.sequence import Plan, Sequence, Stopping, Task

ALPHABET = Characters("ab")


class Countdown:
    """Gives each sequence one symbol a step; can be held at a gate, and remembers who was in which step."""

    def __init__(self, name="m"):
        self.name = name
        self.alphabet = ALPHABET
        self.traits = Traits(vocabulary_size=2, order=1)
        self.steps = []
        self.released = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken = False

    def step(self, sequences):
        self.entered.set()
        assert self.gate.wait(30)
        self.steps.append(list(sequences))
        if self.broken:
            raise ZeroDivisionError("a bug")
        for sequence in sequences:
            sequence.accept([0], [-1.0], [])
        return [sequence.take() for sequence in sequences]

    def release(self, sequence):
        self.released.append(sequence)


def make(tokens=3, index=0):
    stopping = Stopping(max_tokens=tokens)
    return Sequence(
        Plan(Task.GENERATE, np.zeros(2, np.int64), NgramOptions(1), stopping=stopping), index, ALPHABET
    )


@pytest.fixture
async def scheduler():
    made = Scheduler(Metrics("sampler"), Limits(running=4, waiting=6))
    made.start()
    yield made
    await made.close()


async def text_of(ticket):
    texts = [""] * len(ticket.rows)
    async with ticket:
        await ticket.begun()
        async for place, output in ticket.outputs():
            texts[place] += output.text
    return texts


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def entered(engine):
    assert await asyncio.to_thread(engine.entered.wait, 30)


async def test_sequences_join_and_leave_between_steps(scheduler):
    engine = Countdown()
    engine.gate.clear()
    first = scheduler.submit(engine, [make(4)], None)
    await entered(engine)
    later = [scheduler.submit(engine, [make(1)], None), scheduler.submit(engine, [make(2)], None)]
    engine.gate.set()
    assert await asyncio.gather(*map(text_of, [first, *later])) == [["aaaa"], ["a"], ["aa"]]
    assert [len(step) for step in engine.steps] == [1, 3, 2, 1]
    assert len(engine.released) == 3


async def test_no_more_run_than_allowed_and_the_longest_waiting_go_first(scheduler):
    engine = Countdown()
    tickets = [scheduler.submit(engine, [make(2)], None) for _ in range(10)]
    await asyncio.gather(*map(text_of, tickets))
    number = {ticket.rows[0].sequence: place for place, ticket in enumerate(tickets)}
    order = [[number[sequence] for sequence in step] for step in engine.steps]
    assert order == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2 + [[8, 9]] * 2


async def test_a_full_queue_refuses_with_a_time_to_come_back(scheduler):
    engine = Countdown()
    engine.gate.clear()
    tickets = [scheduler.submit(engine, [make(i) for i in (1, 2)], None) for _ in range(5)]
    with pytest.raises(ServiceError) as refused:
        scheduler.submit(engine, [make()], None)
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.reason is Reason.OVERLOADED
    assert refused.value.retry_after > 0
    engine.gate.set()
    await asyncio.gather(*map(text_of, tickets))
    assert await text_of(scheduler.submit(engine, [make(1)], None)) == ["a"]


async def test_a_request_with_many_sequences_ends_when_all_have(scheduler):
    ticket = scheduler.submit(Countdown(), [make(n, n) for n in (1, 5, 3, 2, 4)], None)
    assert await text_of(ticket) == ["a", "aaaaa", "aaa", "aa", "aaaa"]
    assert ticket.timing.batch_rows == 4
    assert ticket.timing.compute_seconds > 0


async def test_a_caller_who_leaves_frees_its_place_within_one_step(scheduler):
    engine = Countdown()
    leaving = make(10**6)
    async with scheduler.submit(engine, [leaving], None) as ticket:
        await ticket.begun()
    steps = len(engine.steps)
    await until(lambda: leaving in engine.released)
    assert sum(leaving in step for step in engine.steps[steps:]) <= 1


async def test_a_waiting_caller_who_leaves_never_runs(scheduler):
    engine = Countdown()
    engine.gate.clear()
    running = scheduler.submit(engine, [make(1) for _ in range(4)], None)
    await entered(engine)
    gone = make(1)
    async with scheduler.submit(engine, [gone], None):
        pass
    engine.gate.set()
    await text_of(running)
    assert await text_of(scheduler.submit(engine, [make(1)], None)) == ["a"]
    assert not any(gone in step for step in engine.steps)


async def test_a_cancelled_task_leaves(scheduler):
    engine = Countdown()
    leaving = make(10**6)
    task = asyncio.create_task(text_of(scheduler.submit(engine, [leaving], None)))
    await entered(engine)
    task.cancel()
    await until(lambda: leaving in engine.released)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_passed_deadline_ends_a_running_sequence(scheduler):
    engine = Countdown()
    late = make(10**9)
    with pytest.raises(ServiceError) as ended:
        await text_of(scheduler.submit(engine, [late], time.monotonic() + 0.05))
    assert ended.value.code is Code.DEADLINE_EXCEEDED
    assert engine.released == [late]


async def test_a_passed_deadline_ends_a_waiting_sequence(scheduler):
    engine = Countdown()
    running = scheduler.submit(engine, [make(30) for _ in range(4)], None)
    with pytest.raises(ServiceError) as ended:
        await text_of(scheduler.submit(engine, [make(1)], time.monotonic() - 1))
    assert ended.value.code is Code.DEADLINE_EXCEEDED
    await text_of(running)


async def test_a_failed_step_ends_its_sequences_and_no_others(scheduler):
    broken, sound = Countdown("broken"), Countdown("sound")
    broken.broken = True
    good = scheduler.submit(sound, [make(50)], None)
    with pytest.raises(ZeroDivisionError):
        await text_of(scheduler.submit(broken, [make(3), make(3)], None))
    assert await text_of(good) == ["a" * 50]
    assert len(broken.released) == 2
    broken.broken = False
    assert await text_of(scheduler.submit(broken, [make(2)], None)) == ["aa"]


async def test_an_engine_that_loses_a_sequence_is_found_out(scheduler):
    engine = Countdown()
    engine.step = lambda sequences: []
    with pytest.raises(RuntimeError, match="1 sequences went into a step, 0 outputs"):
        await text_of(scheduler.submit(engine, [make(1)], None))


async def test_engines_take_turns(scheduler):
    one, other = Countdown("one"), Countdown("other")
    log = []
    for engine in (one, other):
        step = engine.step
        engine.step = lambda sequences, step=step, name=engine.name: (log.append(name), step(sequences))[1]
    one.gate.clear()
    tickets = [scheduler.submit(engine, [make(20)], None) for engine in (one, other)]
    await entered(one)
    one.gate.set()
    await asyncio.gather(*map(text_of, tickets))
    assert log == ["one", "other"] * 20


async def test_the_loop_stays_free_while_a_step_runs(scheduler):
    engine = Countdown()
    engine.gate.clear()
    ticket = scheduler.submit(engine, [make(1)], None)
    await entered(engine)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not engine.steps
    engine.gate.set()
    assert await text_of(ticket) == ["a"]


async def test_closing_tells_those_who_wait():
    scheduler = Scheduler(Metrics("sampler"), Limits(running=1, waiting=4))
    scheduler.start()
    engine = Countdown()
    engine.gate.clear()
    tickets = [scheduler.submit(engine, [make(9)], None) for _ in range(2)]
    tasks = [asyncio.create_task(text_of(ticket)) for ticket in tickets]
    await entered(engine)
    threading.Timer(0.02, engine.gate.set).start()
    await scheduler.close()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, ServiceError)
        assert result.reason is Reason.DRAINING
        assert result.retry_after is not None


class Slow(Countdown):
    """A symbol takes a thousandth of a second."""

    def step(self, sequences):
        time.sleep(0.001)
        return super().step(sequences)


@pytest.fixture
async def patient():
    """Tells callers of running sequences something ten times a second."""
    made = Scheduler(Metrics("sampler"), Limits(running=4, waiting=6, pace_seconds=0.1))
    made.start()
    yield made
    await made.close()


async def pieces_of(ticket, pieces=None):
    pieces = [] if pieces is None else pieces
    async with ticket:
        await ticket.begun()
        async for _, output in ticket.outputs():
            pieces.append(output.text)
    return pieces


async def test_the_first_symbol_comes_alone_and_the_next_ones_together(patient):
    pieces = await pieces_of(patient.submit(Slow(), [make(200)], None))
    assert pieces[0] == "a"
    assert len(pieces) < 20
    assert sum(map(len, pieces)) == 200


async def test_a_newcomer_joins_the_next_step_and_leaves_the_others_pace_alone(patient):
    engine, tickets = Slow(), []
    running = asyncio.create_task(pieces_of(patient.submit(engine, [make(200)], None)))
    for _ in range(20):
        await asyncio.sleep(0.003)
        begun = len(engine.steps)
        tickets.append(asyncio.create_task(pieces_of(patient.submit(engine, [make(1)], None))))
        assert await tickets[-1] == ["a"]
        assert len(engine.steps) <= begun + 6  # not after what is left of a tenth of a second
    assert len(await running) < 20


async def test_a_caller_who_leaves_ends_the_turn(patient):
    engine, leaving, staying = Slow(), make(10**6), make(10**6)
    async with patient.submit(engine, [staying], None):
        async with patient.submit(engine, [leaving], None) as ticket:
            await ticket.begun()
            await asyncio.sleep(0.01)
        steps = len(engine.steps)
        await until(lambda: leaving in engine.released)
        assert sum(leaving in step for step in engine.steps[steps:]) <= 1
        assert staying in engine.steps[-1]


async def test_nothing_that_was_made_before_a_deadline_is_lost(patient):
    engine, late = Slow(), make(10**6)
    pieces = []
    with pytest.raises(ServiceError) as ended:
        await pieces_of(patient.submit(engine, [late], time.monotonic() + 0.05), pieces)
    assert ended.value.code is Code.DEADLINE_EXCEEDED
    assert sum(map(len, pieces)) == len(engine.steps)


async def test_nothing_that_was_made_before_a_failure_is_lost(patient):
    engine, pieces = Slow(), []
    task = asyncio.create_task(pieces_of(patient.submit(engine, [make(10**6)], None), pieces))
    await until(lambda: len(engine.steps) > 20)
    engine.broken = True
    with pytest.raises(ZeroDivisionError):
        await task
    assert sum(map(len, pieces)) == len(engine.steps) - 1


async def test_metrics_tell_what_happened():
    metrics = Metrics("sampler")
    scheduler = Scheduler(metrics)
    scheduler.start()
    await text_of(scheduler.submit(Countdown(), [make(3), make(2)], None))
    await scheduler.close()

    def value(name, **labels):
        return metrics.registry.get_sample_value(f"pequod_{name}", labels)

    assert value("generated_tokens_total", model="m") == 5
    assert value("prompt_tokens_total", model="m") == 2
    assert value("queue_seconds_count", service="sampler") == 1
    assert value("batch_rows_sum", service="sampler") == 5
    assert value("compute_seconds_count", model="m") == 3
    assert value("time_to_first_token_seconds_count", model="m") == 2
    assert value("inter_token_seconds_count", model="m") == 3
    assert value("queue_depth", service="sampler") == 0
    assert value("sequences_running", service="sampler") == 0
