"""Models in memory: loads, leases, the budget, switches and what happens when these meet."""

import asyncio
import contextlib
import threading

import pytest
from tokenizers import Tokenizer

from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.residency import ModelManager, State
from services.common.residency import manager as manager_module
from services.common.residency import pool as pool_module
from services.common.store import Kind
from tests.unit.common.store_parts import disk_store, publish, refused


class Toy:
    """A model that notices when it is used after it was closed."""

    def __init__(self, version):
        self.version = version
        self.closed = False
        self.warm = False

    def answer(self):
        assert self.warm
        assert not self.closed, f"{self.version} was used after it was closed"
        return self.version


PANICS = '{"model": {"type": "BPE", "vocab": {"a": 0, "w": 2}, "merges": [["a", "w"]]}}'
"""A tokenizer with a merge that gives no token: the library does not refuse it, it panics."""


class ToyLoader:
    """Loads toys of ``config["bytes"]`` bytes; holds back, or fails, the versions it is told to."""

    kinds = frozenset({Kind.NGRAM})

    def __init__(self):
        self.loads, self.closed, self.living, self.peak = [], [], 0, 0
        self.bytes_living = 0
        self.hold = {}
        self.broken = {}
        self._lock = threading.Lock()

    def memory_bytes(self, version, path):
        return version.manifest.config.get("bytes", 10)

    def load(self, version, path):
        assert (path / "model.json").exists()
        with self._lock:
            self.loads.append(str(version))
        if gate := self.hold.get(str(version)):
            assert gate.wait(30)
        if self.broken.get(str(version)) == "load":
            raise ValueError("broken weights")
        if self.broken.get(str(version)) == "panic":
            Tokenizer.from_str(PANICS)
        toy = Toy(str(version))
        toy.bytes = self.memory_bytes(version, path)
        with self._lock:
            self.living += 1
            self.bytes_living += toy.bytes
            self.peak = max(self.peak, self.bytes_living)
        return toy

    def warm_up(self, model):
        if self.broken.get(model.version) == "warm_up":
            raise RuntimeError("does not run")
        model.warm = True

    def close(self, model):
        assert not model.closed
        model.closed = True
        with self._lock:
            self.living -= 1
            self.bytes_living -= model.bytes
            self.closed.append(model.version)
        if self.broken.get(model.version) == "close":
            raise RuntimeError("cannot close")


class Bench:
    """A store, a loader and managers over them."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.store = disk_store(tmp_path)
        self.loader = ToyLoader()
        self.metrics = Metrics("toys")
        self.managers = []

    async def publish(self, name, version="1", size=10, **fields):
        await publish(self.store, self.tmp_path, name, version, config={"bytes": size}, **fields)

    def manager(self, budget=100, load_wait=30.0):
        made = ModelManager(self.store, self.loader, self.metrics, budget, load_wait)
        self.managers.append(made)
        return made

    def gate(self, version):
        self.loader.hold[version] = threading.Event()
        return self.loader.hold[version]


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    for gate in bench.loader.hold.values():
        gate.set()
    for manager in bench.managers:
        await manager.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bench.loader.living == 0


async def ask(manager, reference):
    async with manager.use(reference) as resident:
        await asyncio.sleep(0)
        return resident.model.answer()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def state_of(manager, reference):
    return manager.standing(await manager.version_of(reference)).state


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
