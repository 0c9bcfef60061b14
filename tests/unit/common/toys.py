"""Toys for tests of models in memory: a model, its loader, and a bench that has a store and managers."""

import asyncio
import threading

from tokenizers import Tokenizer

from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.store import Kind
from tests.unit.common.store_parts import disk_store, publish


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
