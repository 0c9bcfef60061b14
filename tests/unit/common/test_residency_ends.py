"""Models in memory: unloads, the end of a service, and everything at once."""

import asyncio
import contextlib

from services.common.errors import Code, Reason, ServiceError
from services.common.residency import State
from tests.unit.common.store_parts import refused
from tests.unit.common.toys import ask, state_of, until


async def test_unloading_waits_for_those_who_use_it(bench):
    await bench.publish("a")
    manager = bench.manager()
    async with manager.use("a") as resident:
        first = asyncio.create_task(manager.unload("a"))
        while await state_of(manager, "a") is not State.UNLOADING:
            await asyncio.sleep(0.005)
        first.cancel()
        second = asyncio.create_task(manager.unload("a"))
        await asyncio.wait({first, second}, timeout=0.1)
        assert first.cancelled()
        assert not second.done()
        assert resident.model.answer() == "a:1"
    await second
    assert bench.loader.closed == ["a:1"]
    assert await state_of(manager, "a") is State.AVAILABLE


async def test_a_request_during_an_unload_gets_a_new_copy(bench):
    await bench.publish("a")
    manager = bench.manager()
    async with manager.use("a") as resident:
        unload = asyncio.create_task(manager.unload("a"))
        while await state_of(manager, "a") is not State.UNLOADING:
            await asyncio.sleep(0.005)
        async with manager.use("a") as new:
            assert new.model is not resident.model
            assert (new.model.answer(), resident.model.answer()) == ("a:1", "a:1")
    await unload
    assert bench.loader.closed == ["a:1"]
    assert await state_of(manager, "a") is State.READY
    assert bench.metrics.model_loaded.labels("a", "1")._value.get() == 1


async def test_a_model_that_is_leaving_still_counts(bench):
    await bench.publish("a", size=60)
    await bench.publish("b", size=60)
    manager = bench.manager(budget=100)
    async with manager.use("a"):
        unload = asyncio.create_task(manager.unload("a"))
        while await state_of(manager, "a") is not State.UNLOADING:
            await asyncio.sleep(0.005)
        with refused(Code.RESOURCE_EXHAUSTED, Reason.MEMORY_BUDGET):
            await manager.load("b")
    await unload


async def test_unloading_during_a_load_unloads(bench):
    await bench.publish("a")
    manager, gate = bench.manager(), bench.gate("a:1")
    load = asyncio.create_task(manager.load("a"))
    await until(lambda: bench.loader.loads)
    unload = asyncio.create_task(manager.unload("a"))
    await asyncio.sleep(0.02)
    gate.set()
    await asyncio.gather(load, unload)
    assert await state_of(manager, "a") is State.AVAILABLE
    assert bench.loader.closed == ["a:1"]


async def test_a_model_that_cannot_close_hurts_no_other(bench):
    await bench.publish("a", size=60)
    await bench.publish("b", size=60)
    bench.loader.broken["a:1"] = "close"
    manager = bench.manager(budget=100)
    assert [await ask(manager, name) for name in "ab"] == ["a:1", "b:1"]


async def test_watchers_see_the_states_in_order(bench):
    await bench.publish("a")
    manager = bench.manager()
    watch = manager.watch(await manager.version_of("a"))
    seen = [(await anext(watch)).state]
    await manager.load("a")
    await manager.unload("a")
    while seen[-1] is not State.AVAILABLE or len(seen) == 1:
        seen.append((await anext(watch)).state)
    await watch.aclose()
    assert seen == [
        State.AVAILABLE, State.PULLING, State.LOADING, State.READY, State.UNLOADING, State.AVAILABLE
    ]  # fmt: skip
    assert manager._pool.standings._watchers == {}


async def test_closing_waits_for_loads_and_begins_none(bench):
    for name in "ab":
        await bench.publish(name)
    manager, gate = bench.manager(), bench.gate("a:1")
    await manager.start(["b"])
    load = asyncio.create_task(manager.load("a"))
    await until(lambda: "a:1" in bench.loader.loads)
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0.02)
    gate.set()
    await closing
    await asyncio.wait({load})
    assert sorted(bench.loader.closed) == ["a:1", "b:1"]
    with refused(Code.UNAVAILABLE, Reason.DRAINING):
        await ask(manager, "a")


async def test_closing_lets_the_last_users_end(bench):
    await bench.publish("a")
    manager = bench.manager()
    async with manager.use("a") as resident:
        closing = asyncio.create_task(manager.close())
        await asyncio.sleep(0.02)
        assert resident.model.answer() == "a:1"
    await closing
    assert bench.loader.closed == ["a:1"]


async def test_a_store_that_is_away_takes_no_model_from_a_running_service(bench, monkeypatch):
    await bench.publish("a")
    manager = bench.manager()
    await manager.start(["a"])

    def away(*_):
        raise OSError(5, "input/output error")

    for method in ("versions", "aliases"):
        monkeypatch.setattr(bench.store._layers.all[1], method, away)
    await asyncio.sleep(0.1)
    await manager.unload("a")
    assert await ask(manager, "a") == "a:1"
    assert await ask(manager, "a:1") == "a:1"


async def test_everything_at_once(bench):
    for name in "abc":
        for version in ("1", "2"):
            await bench.publish(name, version, size=30)
        await bench.store.set_alias(name, "production", "1")
    manager, done, served, wrong = bench.manager(budget=130), asyncio.Event(), 0, set()
    await manager.start(["a"])

    async def caller(name):
        nonlocal served
        while not done.is_set():
            try:
                assert (await ask(manager, name)).startswith(name)
                served += 1
                await asyncio.sleep(0.001)  # a loop that never rests keeps the loading threads from running
            except ServiceError as error:
                wrong.add(error.reason)
                await asyncio.sleep(0.005)

    callers = [asyncio.create_task(caller(name)) for name in "abc" * 4]
    for turn in range(12):
        name = "abc"[turn % 3]
        with contextlib.suppress(ServiceError):
            await manager.set_alias(name, "production", str(turn % 2 + 1), None)
        await manager.unload(name)
        leaver = asyncio.create_task(ask(manager, name))
        await asyncio.sleep(0.003)
        leaver.cancel()
        await asyncio.wait({leaver})
    done.set()
    await asyncio.gather(*callers)
    assert served
    assert wrong <= {Reason.MEMORY_BUDGET}
    assert bench.loader.peak <= 130
