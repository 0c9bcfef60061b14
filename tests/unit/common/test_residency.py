"""Models in memory: loads, leases, the budget, and loads that fail."""

import asyncio

import pytest

from services.common.errors import Code, Reason, ServiceError
from services.common.residency import State
from services.common.residency import manager as manager_module
from services.common.residency import pool as pool_module
from services.common.store import Kind
from tests.unit.common.store_parts import refused
from tests.unit.common.toys import ask, state_of, until


async def test_the_first_use_loads_and_the_next_finds_it(bench):
    await bench.publish("a")
    manager = bench.manager()
    assert [await ask(manager, "a") for _ in range(3)] == ["a:1"] * 3
    assert bench.loader.loads == ["a:1"]
    assert bench.metrics.model_loaded.labels("a", "1")._value.get() == 1
    assert bench.metrics.model_memory_bytes.labels("a", "1")._value.get() == 10


async def test_many_callers_share_one_load(bench):
    await bench.publish("a")
    manager, gate = bench.manager(), bench.gate("a:1")
    callers = [asyncio.create_task(ask(manager, ref)) for ref in ["a", "a:1"] * 20]
    await until(lambda: bench.loader.loads)
    gate.set()
    assert set(await asyncio.gather(*callers)) == {"a:1"}
    assert bench.loader.loads == ["a:1"]


async def test_a_slow_load_is_told_and_goes_on(bench):
    await bench.publish("a")
    manager, gate = bench.manager(load_wait=0.02), bench.gate("a:1")
    with refused(Code.UNAVAILABLE, Reason.LOADING) as caught:
        await ask(manager, "a")
    assert caught.value.retry_after > 0
    assert await state_of(manager, "a") is State.LOADING
    gate.set()
    await manager.load("a")
    assert await ask(manager, "a") == "a:1"
    assert bench.loader.loads == ["a:1"]


async def test_a_caller_that_leaves_does_not_stop_the_load(bench):
    await bench.publish("a")
    manager, gate = bench.manager(), bench.gate("a:1")
    leaver, stayer = asyncio.create_task(ask(manager, "a")), asyncio.create_task(ask(manager, "a"))
    loader = asyncio.create_task(manager.load("a"))
    await until(lambda: bench.loader.loads)
    leaver.cancel()
    loader.cancel()
    await asyncio.wait({leaver, loader})
    gate.set()
    assert await stayer == "a:1"


async def test_a_long_look_at_the_hub_is_told_as_a_load_and_shared(bench, monkeypatch):
    await bench.publish("a")
    manager, arrived, looks = bench.manager(load_wait=0.02), asyncio.Event(), []
    version = await bench.store.resolve("a")

    async def resolve(reference):
        looks.append(reference)
        await arrived.wait()
        return version

    monkeypatch.setattr(bench.store, "resolve", resolve)
    for _ in range(3):
        with refused(Code.UNAVAILABLE, Reason.LOADING, "hf:org/a"):
            await ask(manager, "hf:org/a")
    assert looks == ["hf:org/a"]
    arrived.set()
    await manager.load("hf:org/a")
    assert await ask(manager, "hf:org/a") == "a:1"


async def test_a_caller_who_comes_back_learns_why_the_hub_failed(bench, monkeypatch):
    manager, looks, answered = bench.manager(load_wait=0.02), [], asyncio.Event()

    async def resolve(reference):
        looks.append(reference)
        await answered.wait()
        raise ServiceError(Code.UNAVAILABLE, Reason.HUB_UNREACHABLE, "no hub")

    monkeypatch.setattr(bench.store, "resolve", resolve)
    with refused(Code.UNAVAILABLE, Reason.LOADING):
        await ask(manager, "hf:org/a")
    answered.set()
    await until(lambda: not manager._looks)
    for _ in range(3):
        with refused(Code.UNAVAILABLE, Reason.HUB_UNREACHABLE):
            await ask(manager, "hf:org/a")
    assert len(looks) == 1
    monkeypatch.setattr(manager_module, "_HUB_FAILURE_PAUSE", 0.0)
    with refused(Code.UNAVAILABLE, Reason.HUB_UNREACHABLE):
        await ask(manager, "hf:org/a")
    assert len(looks) == 2


async def test_idle_models_leave_least_recently_used_first(bench):
    for name in "abcd":
        await bench.publish(name, size=40)
    manager = bench.manager(budget=120)
    for name in ["a", "b", "c", "a"]:
        await ask(manager, name)
    _, evicted = await manager.load("d")
    assert evicted == ["b:1"]
    assert await state_of(manager, "b") is State.AVAILABLE
    assert (await manager.load("d"))[1] == []
    assert bench.loader.closed == ["b:1"]
    assert bench.loader.peak <= 120
    assert bench.metrics.model_loaded.labels("b", "1")._value.get() == 0


async def test_models_in_use_stay_and_the_refusal_counts_bytes(bench):
    await bench.publish("a", size=60)
    await bench.publish("idle", size=20)
    await bench.publish("b", size=70)
    await bench.publish("huge", size=101)
    manager = bench.manager(budget=100)
    await ask(manager, "idle")
    async with manager.use("a") as resident:
        with refused(Code.RESOURCE_EXHAUSTED, Reason.MEMORY_BUDGET, "needs 70 bytes", "20", "100", "a:1 60"):
            await manager.load("b")
        with refused(Code.RESOURCE_EXHAUSTED, Reason.MEMORY_BUDGET, "needs 101 bytes"):
            await ask(manager, "huge")
        assert resident.model.answer() == "a:1"
        assert bench.loader.closed == []  # nothing was evicted in vain
    assert await state_of(manager, "b") is State.FAILED


async def test_models_that_push_each_other_out_all_get_their_turn(bench):
    for name in "abc":
        await bench.publish(name, size=60)
    manager, wrong = bench.manager(budget=100), set()

    async def caller(name):
        for _ in range(15):
            try:
                assert await ask(manager, name) == f"{name}:1"
            except ServiceError as error:
                wrong.add(error.reason)
                await asyncio.sleep(0.01)

    await asyncio.gather(*(caller(name) for name in "abc" * 3))
    assert wrong <= {Reason.MEMORY_BUDGET}
    assert bench.loader.peak <= 100


@pytest.mark.parametrize("step", ["load", "panic", "warm_up"])
async def test_a_failed_load_is_reported_then_tried_again(bench, monkeypatch, step):
    monkeypatch.setattr(pool_module, "FAILED_LOAD_PAUSE", 1000.0)
    await bench.publish("a")
    manager = bench.manager()
    bench.loader.broken["a:1"] = step
    for _ in range(3):
        with refused(Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, "a:1"):
            await ask(manager, "a")
    assert bench.loader.loads == ["a:1"]
    assert bench.loader.living == 0
    assert "a:1" in manager.standing(await manager.version_of("a")).error
    monkeypatch.setattr(pool_module, "FAILED_LOAD_PAUSE", 0.0)
    bench.loader.broken.clear()
    assert await ask(manager, "a") == "a:1"


async def test_a_tampered_model_is_not_loaded(bench):
    await bench.publish("a")
    (bench.tmp_path / "user" / "a" / "1" / "tokenizer.json").write_text('{"seed": 7}')
    manager = bench.manager()
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "tokenizer.json"):
        await ask(manager, "a")
    assert bench.loader.loads == []


async def test_another_services_model_is_refused(bench):
    await bench.publish("a", kind=Kind.GAN)
    manager = bench.manager()
    for call in (
        ask(manager, "a"),
        manager.load("a"),
        manager.unload("a"),
        manager.set_alias("a", "x", "1", None),
    ):
        with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "another service"):
            await call
    assert (await bench.store.resolve("a")).aliases == ()
    assert await manager.list_versions() == []


async def test_a_failed_load_leaves_the_old_version_serving_and_is_tried_again(bench, monkeypatch):
    monkeypatch.setattr(pool_module, "FAILED_LOAD_PAUSE", 0.01)
    monkeypatch.setattr(manager_module, "FAILED_LOAD_PAUSE", 0.02)
    await bench.publish("a", "1")
    manager = bench.manager()
    await manager.start(["a"])
    bench.loader.broken["a:2"] = "warm_up"
    await bench.publish("a", "2")
    await until(lambda: bench.loader.loads.count("a:2") >= 2)
    assert await ask(manager, "a") == "a:1"
    bench.loader.broken.clear()
    async with asyncio.timeout(30):
        while await ask(manager, "a") != "a:2":
            await asyncio.sleep(0.01)
