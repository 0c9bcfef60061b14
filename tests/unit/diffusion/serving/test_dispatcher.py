"""The dispatcher with a network that does what it is told: who shares calls, departures, limits, failures."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.diffusion.engine import Text
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox
from services.diffusion.painting.painting import Painting
from services.diffusion.profile import Profile
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from services.diffusion.serving.dispatcher import Dispatcher
from services.diffusion.serving.job import Finished, Order, Stepped, Waits

SHAPE = (3, 4, 4)
LEVELS = Levels.of_config({"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.012})
TEXT = Text({"text": np.zeros((1, 1), np.float32)})


class Network:
    """Can be held at a gate; remembers the marks of the rows of its calls."""

    def __init__(self, rows):
        self.rows = rows
        self.profile = Profile(rows, {rows: 0.01})
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken = False

    def predict(self, questions):
        self.entered.set()
        assert self.gate.wait(30)
        self.calls.append([each.text.inputs["mark"] for each in questions])
        if self.broken:
            raise ZeroDivisionError("a bug")
        return [0.5 * each.sample for each in questions]


class Places:
    """Room for one adapter at a time."""

    def __init__(self):
        self.key, self.users = None, 0

    def holds(self, adapter):
        return adapter.key == self.key

    def take(self, adapter):
        if self.users and self.key != adapter.key:
            return None
        self.key, self.users = adapter.key, self.users + 1
        return 7

    def leave(self, adapter):
        assert adapter.key == self.key
        self.users -= 1


class Model:
    """A model of pixels."""

    def __init__(self, name="m", rows=2):
        self.name = name
        self.levels = LEVELS
        self.denoiser = Network(rows)
        self.adapters = Places()


def order(model, mark, *, images=1, steps=4, caller="", deadline=None, adapters=(), preview=0, bug=False):
    scheduler = SCHEDULERS["ddim"]
    path = scheduler.path(LEVELS, steps)

    def start(places):
        if bug:
            raise ZeroDivisionError("a bug")
        noise = philox(1, SHAPE)
        text = Text({"mark": mark})
        return Painting(
            scheduler.walk(LEVELS, path, noise(START), noise), LEVELS, steps, text, text, Guidance(), places
        )

    starts = [start] * images
    return Order(model, starts, steps, steps, 1, SHAPE, caller, deadline, adapters, preview)


@pytest.fixture
async def dispatcher():
    made = Dispatcher(Metrics("diffusion"), most_images=8)
    made.start()
    yield made
    await made.close()


async def events_of(job):
    async with job:
        return [event async for event in job.events()]


async def held(model):
    """Returns when a call is at the gate."""
    assert await asyncio.to_thread(model.denoiser.entered.wait, 30)
    model.denoiser.entered.clear()


async def test_events_come_in_order(dispatcher):
    events = await events_of(dispatcher.submit(order(Model(), "a", images=2, steps=3, preview=2)))
    assert [type(each) for each in events].count(Finished) == 2
    assert isinstance(events[0], Waits)
    assert (events[0].position, events[0].wait_seconds) == (0, 0.0)
    steps = [each for each in events if isinstance(each, Stepped) and each.index == 0]
    assert [each.step for each in steps] == [1, 2, 3]
    assert [each.preview is not None for each in steps] == [False, True, False]
    levels = [each.noise_level for each in steps]
    assert levels == sorted(levels, reverse=True)
    assert isinstance(events[-1], Finished)


async def test_requests_join_between_two_calls_and_are_the_same_as_alone(dispatcher):
    model = Model(rows=4)
    alone = (await events_of(dispatcher.submit(order(model, "x", steps=6))))[-1].painted
    model.denoiser.calls.clear()
    model.denoiser.gate.clear()
    first = asyncio.create_task(events_of(dispatcher.submit(order(model, "a", steps=6))))
    await held(model)
    second = asyncio.create_task(events_of(dispatcher.submit(order(model, "b", steps=2))))
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    events, _ = await asyncio.gather(first, second)
    assert [sorted(call) for call in model.denoiser.calls] == [
        ["a"],
        ["a", "b"],
        ["a", "b"],
        ["a"],
        ["a"],
        ["a"],
    ]
    np.testing.assert_array_equal(events[-1].painted, alone)


async def test_short_requests_are_not_held_up_by_long_ones(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    long = asyncio.create_task(events_of(dispatcher.submit(order(model, "long", steps=200))))
    await held(model)
    short = asyncio.create_task(events_of(dispatcher.submit(order(model, "short", steps=2))))
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    await short
    assert not long.done()
    await long
    assert [mark for (mark,) in model.denoiser.calls[1:3]] == ["short"] * 2


async def test_callers_have_equal_shares(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    greedy = [
        asyncio.create_task(events_of(dispatcher.submit(order(model, "greedy", steps=20, caller="greedy"))))
        for _ in range(4)
    ]
    await held(model)
    modest = asyncio.create_task(
        events_of(dispatcher.submit(order(model, "modest", steps=20, caller="modest")))
    )
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    await modest
    marks = [mark for (mark,) in model.denoiser.calls]
    until_last = marks[: len(marks) - marks[::-1].index("modest")]
    assert 0.4 < until_last.count("modest") / len(until_last) < 0.6
    await asyncio.gather(*greedy)


async def test_what_is_due_earliest_goes_first(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    running = asyncio.create_task(events_of(dispatcher.submit(order(model, "running", steps=1))))
    await held(model)
    now = time.monotonic()
    later = asyncio.create_task(events_of(dispatcher.submit(order(model, "later", steps=3))))
    await asyncio.sleep(0)
    urgent = asyncio.create_task(
        events_of(dispatcher.submit(order(model, "urgent", steps=3, deadline=now + 30)))
    )
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    dispatcher.submit(order(model, "soon", steps=3, deadline=now + 0.02))
    await asyncio.gather(running, later, urgent, return_exceptions=True)
    marks = [mark for (mark,) in model.denoiser.calls]
    assert marks[1] == "soon"


async def test_models_and_shapes_do_not_share_calls(dispatcher):
    one, other = Model("one", 8), Model("other", 8)
    jobs = [dispatcher.submit(order(model, model.name, steps=3)) for model in (one, other, one)]
    await asyncio.gather(*map(events_of, jobs))
    assert {mark for call in one.denoiser.calls for mark in call} == {"one"}
    assert {mark for call in other.denoiser.calls for mark in call} == {"other"}


async def test_whoever_leaves_frees_its_rows_at_once(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    job = dispatcher.submit(order(model, "gone", steps=500))
    task = asyncio.create_task(events_of(job))
    await held(model)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    stays = asyncio.create_task(events_of(dispatcher.submit(order(model, "stays", steps=3))))
    model.denoiser.gate.set()
    await stays
    assert [mark for (mark,) in model.denoiser.calls] == ["gone", "stays", "stays", "stays"]


async def test_a_passed_deadline_ends_a_request(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    job = dispatcher.submit(order(model, "late", steps=500, deadline=time.monotonic() + 0.05))
    task = asyncio.create_task(events_of(job))
    await held(model)
    await asyncio.sleep(0.1)
    model.denoiser.gate.set()
    with pytest.raises(ServiceError) as caught:
        await task
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert len(model.denoiser.calls) == 1


async def test_too_many_images_are_refused_with_a_time_to_wait(dispatcher):
    model = Model()
    model.denoiser.gate.clear()
    jobs = [asyncio.create_task(events_of(dispatcher.submit(order(model, "a", images=4)))) for _ in range(2)]
    await held(model)
    with pytest.raises(ServiceError) as caught:
        dispatcher.submit(order(model, "b"))
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.OVERLOADED)
    assert caught.value.retry_after > 0
    model.denoiser.gate.set()
    await asyncio.gather(*jobs)


async def test_those_who_wait_hear_how_many_are_before_them(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    first = asyncio.create_task(events_of(dispatcher.submit(order(model, "a"))))
    await held(model)
    second = asyncio.create_task(events_of(dispatcher.submit(order(model, "b"))))
    await asyncio.sleep(0)
    third = asyncio.create_task(events_of(dispatcher.submit(order(model, "c"))))
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    *_, events = await asyncio.gather(first, second, third)
    waits = [each for each in events if isinstance(each, Waits)]
    assert [each.position for each in waits] == [2, 1, 0]
    assert waits[0].wait_seconds > waits[1].wait_seconds > waits[2].wait_seconds == 0


async def test_a_failed_call_ends_those_in_it_and_no_others(dispatcher):
    model = Model(rows=1)
    model.denoiser.broken = True
    with pytest.raises(ZeroDivisionError):
        await events_of(dispatcher.submit(order(model, "a")))
    model.denoiser.broken = False
    assert isinstance((await events_of(dispatcher.submit(order(model, "b"))))[-1], Finished)


async def test_an_image_that_cannot_be_begun_ends_its_own_request(dispatcher):
    model = Model(rows=4)
    jobs = [dispatcher.submit(order(model, "bad", bug=True)), dispatcher.submit(order(model, "good"))]
    bad, good = await asyncio.gather(*map(events_of, jobs), return_exceptions=True)
    assert isinstance(bad, ZeroDivisionError)
    assert isinstance(good[-1], Finished)


async def test_adapters_wait_for_a_place_and_leave_it(dispatcher):
    model = Model(rows=4)
    one, other = (SimpleNamespace(key=key) for key in "ab")
    jobs = [
        dispatcher.submit(order(model, mark, steps=3, adapters=[(adapter, 1.0)]))
        for mark, adapter in (("one", one), ("other", other), ("one again", one))
    ]
    jobs.append(dispatcher.submit(order(model, "plain", steps=3)))
    await asyncio.gather(*map(events_of, jobs))
    assert all({"one", "other"} - set(call) for call in model.denoiser.calls)
    assert {"one", "one again", "plain"} <= set(model.denoiser.calls[0])
    assert model.adapters.users == 0
    await events_of(dispatcher.submit(order(model, "two", adapters=[(other, 1.0)])))


async def test_one_who_comes_back_has_saved_nothing_up(dispatcher):
    model = Model(rows=1)
    await events_of(dispatcher.submit(order(model, "idle", steps=1, caller="idle")))
    busy = asyncio.create_task(events_of(dispatcher.submit(order(model, "busy", steps=30, caller="busy"))))
    while len(model.denoiser.calls) < 20:
        await asyncio.sleep(0.001)
    model.denoiser.gate.clear()
    await held(model)
    back = asyncio.create_task(events_of(dispatcher.submit(order(model, "idle", steps=8, caller="idle"))))
    await asyncio.sleep(0)
    seen = len(model.denoiser.calls)
    model.denoiser.gate.set()
    await asyncio.gather(busy, back)
    marks = [mark for (mark,) in model.denoiser.calls[seen:]]
    assert 3 <= marks[:8].count("idle") <= 5


async def test_at_the_end_those_who_wait_are_told(dispatcher):
    model = Model(rows=1)
    model.denoiser.gate.clear()
    jobs = [asyncio.create_task(events_of(dispatcher.submit(order(model, mark)))) for mark in "ab"]
    await held(model)
    closing = asyncio.create_task(dispatcher.close())
    await asyncio.sleep(0)
    model.denoiser.gate.set()
    await closing
    for job in jobs:
        with pytest.raises(ServiceError) as caught:
            await job
        assert caught.value.reason is Reason.DRAINING
        assert caught.value.retry_after is not None
