"""Models in memory: another version takes over while requests go on."""

import asyncio
import contextlib

from services.common.errors import Code, Reason, ServiceError
from services.common.residency import pool as pool_module
from tests.unit.common.store_parts import disk_store, refused
from tests.unit.common.toys import ask, until


async def test_no_request_notices_a_switch(bench):
    for version in ("1", "2", "3"):
        await bench.publish("a", version)
    manager, other = bench.manager(), disk_store(bench.tmp_path)
    await bench.store.set_alias("a", "production", "1")
    await manager.start(["a"])
    done, answers = asyncio.Event(), []

    async def caller():
        while not done.is_set():
            async with manager.use("a@production") as resident:
                await asyncio.sleep(0.001)
                answers.append(resident.model.answer())

    callers = [asyncio.create_task(caller()) for _ in range(16)]
    for version in ["2", "3", "1", "2"]:
        await manager.set_alias("a", "production", version, None)
        assert await ask(manager, "a@production") == f"a:{version}"
        with contextlib.suppress(ServiceError):
            await manager.unload("a:3")
    await other.set_alias("a", "production", "3")
    await until(lambda: answers and answers[-1] == "a:3")
    done.set()
    await asyncio.gather(*callers)
    assert set(answers) == {"a:1", "a:2", "a:3"}


async def test_an_alias_that_goes_there_and_back_between_two_looks_is_followed(bench):
    for version in ("1", "2"):
        await bench.publish("a", version)
    await bench.store.set_alias("a", "production", "1")
    manager, other = bench.manager(), disk_store(bench.tmp_path)
    await manager.start(["a"])
    for _ in range(20):
        await asyncio.sleep(0.03)
        await manager.set_alias("a", "production", "2", "1")
        await other.set_alias("a", "production", "1", "2")
        async with asyncio.timeout(30):
            while await ask(manager, "a") != "a:1":
                await asyncio.sleep(0.01)


async def test_a_switch_with_room_for_one_version_only(bench):
    await bench.publish("a", "1", size=60)
    await bench.publish("a", "2", size=60)
    await bench.store.set_alias("a", "production", "1")
    manager, gate = bench.manager(budget=100), bench.gate("a:2")
    await manager.load("a")
    switch = asyncio.create_task(manager.set_alias("a", "production", "2", "1"))
    await until(lambda: "a:2" in bench.loader.loads)
    waiting = asyncio.create_task(ask(manager, "a"))
    await asyncio.sleep(0.01)
    gate.set()
    assert await waiting == "a:2"
    assert await switch == "1"


async def test_a_switch_that_fails_with_room_for_one_version_fails_no_request(bench, monkeypatch):
    monkeypatch.setattr(pool_module, "FAILED_LOAD_PAUSE", 0.01)
    await bench.publish("a", "1", size=60)
    await bench.publish("a", "2", size=60)
    await bench.store.set_alias("a", "production", "1")
    bench.loader.broken["a:2"] = "load"
    manager, gate = bench.manager(budget=100), bench.gate("a:2")
    await manager.load("a")
    switch = asyncio.create_task(manager.set_alias("a", "production", "2", "1"))
    await until(lambda: "a:2" in bench.loader.loads)
    waiting = [asyncio.create_task(ask(manager, "a")) for _ in range(5)]
    await asyncio.sleep(0.01)
    gate.set()
    assert await asyncio.gather(*waiting) == ["a:1"] * 5
    await switch
    assert await ask(manager, "a") == "a:1"


async def test_an_alias_moved_during_the_first_load_is_not_missed(bench):
    await bench.publish("a", "1")
    await bench.publish("a", "2")
    await bench.store.set_alias("a", "production", "1")
    manager, gate = bench.manager(), bench.gate("a:1")
    first, loading = asyncio.create_task(ask(manager, "a")), asyncio.create_task(manager.load("a"))
    await until(lambda: bench.loader.loads)
    await manager.set_alias("a", "production", "2", "1")
    gate.set()
    assert await first == "a:1"
    await loading
    async with asyncio.timeout(30):
        while await ask(manager, "a") != "a:2":
            await asyncio.sleep(0.01)


async def test_a_slow_switch_of_one_model_holds_up_no_other(bench):
    for name in "ab":
        await bench.publish(name, "1")
    manager = bench.manager()
    await manager.start(["a", "b"])
    gate = bench.gate("a:2")
    await bench.publish("a", "2")
    await until(lambda: "a:2" in bench.loader.loads)
    await bench.publish("b", "2")
    async with asyncio.timeout(30):
        while await ask(manager, "b") != "b:2":
            await asyncio.sleep(0.01)
    assert await ask(manager, "a") == "a:1"
    gate.set()


async def test_a_reference_that_is_gone_is_not_found(bench):
    await bench.publish("a", "1")
    await bench.store.set_alias("a", "canary", "1")
    manager = bench.manager()
    await manager.start(["a@canary"])
    await manager.set_alias("a", "canary", "", "1")
    with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        await ask(manager, "a@canary")
