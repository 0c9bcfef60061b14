"""Which models are in memory: loads, leases, the memory budget, and switches that no request notices."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Generic

from services.common.errors import Code, Reason, ServiceError, loading, model_not_found
from services.common.metrics import Metrics
from services.common.residency.contract import Key, Loader, M, Resident, Standing, State
from services.common.store import ModelStore, ModelVersion, Report

FAILED_LOAD_PAUSE = 1.0  # seconds in which a failed load is reported again instead of tried again

_logger = logging.getLogger("pequod.residency")


class ModelManager(Generic[M]):
    """Models of one process, loaded on demand within ``budget_bytes``.

    A reference without a version (``name``, ``name@alias``) keeps answering with the version it
    stands for until the version it should stand for is loaded: no request waits for a switch.
    """

    def __init__(
        self,
        store: ModelStore,
        loader: Loader[M],
        metrics: Metrics,
        budget_bytes: int,
        load_wait: float = 1.0,
    ) -> None:
        """``load_wait``: seconds a request waits for a load before it is told to come back (LOADING)."""
        self.store = store
        self._loader = loader
        self._metrics = metrics
        self._budget = budget_bytes
        self._load_wait = load_wait
        self._residents: dict[Key, Resident[M]] = {}
        self._loads: dict[Key, asyncio.Task[Resident[M]]] = {}
        self._reserved: dict[Key, int] = {}
        self._failures: dict[Key, tuple[float, ServiceError]] = {}
        self._standings: dict[Key, Standing] = {}
        self._views: dict[str, ModelVersion] = {}
        self._changed = asyncio.Condition()
        self._memory = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None

    async def start(self, preload: Sequence[str] = ()) -> None:
        """Load ``preload`` and begin to follow the store."""
        for reference in preload:
            await self.load(reference)
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following, end loads, close every model."""
        tasks = [task for task in (self._follower, *self._loads.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for resident in list(self._residents.values()):
            await self._drop(resident)

    @contextlib.asynccontextmanager
    async def use(self, reference: str) -> AsyncIterator[Resident[M]]:
        """Hold the model that ``reference`` stands for; it stays in memory while the block runs.

        Raises UNAVAILABLE, reason LOADING, while it is not loaded yet; the load goes on.
        """
        resident = await self._resident(reference)
        resident.leases += 1
        resident.idle.clear()
        try:
            yield resident
        finally:
            resident.leases -= 1
            resident.last_used = time.monotonic()
            if not resident.leases:
                resident.idle.set()

    async def load(self, reference: str) -> tuple[Resident[M], list[str]]:
        """Bring a model into memory, however long it takes; returns it and the models that had to leave."""
        before = set(self._residents)
        version = await self._resolve(reference)
        resident = await asyncio.shield(self._begin_load(version))
        self._views[reference] = version
        evicted = sorted(f"{name}:{number}" for name, number in before - set(self._residents))
        return resident, evicted

    async def unload(self, reference: str) -> ModelVersion:
        """Take no new requests for a model, wait for those that run, and let it go."""
        version = await self.version_of(reference)
        resident = self._residents.get(version.key)
        if resident is not None:
            await self._set(version.key, Standing(State.UNLOADING, memory_bytes=resident.memory_bytes))
            del self._residents[version.key]
            if resident.leases:
                await resident.idle.wait()
            await self._close(resident)
        return version

    async def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Move an alias in the store and here; returns the version it named before."""
        before = await self.store.set_alias(name, alias, version, expected)
        await self._refresh(name)
        return before

    async def version_of(self, reference: str) -> ModelVersion:
        """The version a reference stands for in the store now. Raises NOT_FOUND."""
        return self._accept(await self.store.resolve(reference), reference)

    async def list_versions(self) -> list[ModelVersion]:
        """Every version of the store that this process can run."""
        return [v for v in await self.store.list_versions() if v.manifest.kind in self._loader.kinds]

    def standing(self, version: ModelVersion) -> Standing:
        """State, progress and memory of a version in this process."""
        default = Standing(State.AVAILABLE, memory_bytes=version.manifest.size_bytes)
        return self._standings.get(version.key, default)

    async def watch(self, version: ModelVersion) -> AsyncIterator[Standing]:
        """The standing of a version, now and after each change; ends when the caller leaves."""
        last: Standing | None = None
        while True:
            async with self._changed:
                while self.standing(version) == last:
                    await self._changed.wait()
                last = self.standing(version)
            yield last

    async def _resident(self, reference: str) -> Resident[M]:
        version = self._views.get(reference) or await self._resolve(reference)
        resident = self._residents.get(version.key)
        # A model that was loaded just now may be evicted for another before this task goes on.
        while resident is None:
            loaded = await self._load_soon(version, reference)
            resident = loaded if self._residents.get(version.key) is loaded else None
        self._views.setdefault(reference, version)
        return resident

    async def _resolve(self, reference: str) -> ModelVersion:
        return self._accept(await self.store.resolve(reference), reference)

    def _accept(self, version: ModelVersion, reference: str) -> ModelVersion:
        if version.manifest.kind not in self._loader.kinds:
            error = model_not_found(reference, ())
            error.message = f"{version} is a {version.manifest.kind.value} model, which another service runs"
            raise error
        return version

    async def _load_soon(self, version: ModelVersion, reference: str) -> Resident[M]:
        """The model, when its load ends within the wait; the load goes on in any case."""
        task = self._begin_load(version)
        done, _ = await asyncio.wait({task}, timeout=self._load_wait)
        if not done:
            raise loading(reference, retry_after=self._load_wait or 1.0)
        return task.result()

    def _begin_load(self, version: ModelVersion) -> asyncio.Task[Resident[M]]:
        """The one task that loads a version, however many ask for it."""
        task = self._loads.get(version.key)
        if task is None:
            task = asyncio.create_task(self._load(version))
            self._loads[version.key] = task
            # Someone may have stopped waiting; the failure is kept in the standing.
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return task

    async def _load(self, version: ModelVersion) -> Resident[M]:
        key = version.key
        try:
            if resident := self._residents.get(key):
                return resident
            self._raise_recent_failure(key)
            return await self._read(version)
        except ServiceError as error:
            await self._fail(version, error)
            raise
        except Exception as error:
            _logger.exception("load failed", extra={"model": str(version)})
            failure = ServiceError(
                Code.FAILED_PRECONDITION,
                Reason.LOAD_FAILED,
                f"model {version} cannot be loaded: {type(error).__name__}",
                resource=("model", str(version)),
            )
            await self._fail(version, failure)
            raise failure from error
        finally:
            del self._loads[key]
            self._reserved.pop(key, None)

    async def _read(self, version: ModelVersion) -> Resident[M]:
        """The load itself: fetch, make room, read, warm up."""
        key = version.key
        await self._set(key, Standing(State.PULLING))
        path = await self.store.fetch(version, self._reporter(key))
        needed = await asyncio.to_thread(self._loader.memory_bytes, version, path)
        await self._set(key, Standing(State.LOADING, memory_bytes=needed))
        await self._make_room(version, needed)
        model = await asyncio.to_thread(self._loader.load, version, path)
        await asyncio.to_thread(self._loader.warm_up, model)
        resident = Resident(version, model, needed, last_used=time.monotonic())
        self._residents[key] = resident
        self._metrics.model_loaded.labels(*key).set(1)
        self._metrics.model_memory_bytes.labels(*key).set(needed)
        self._metrics.model_loads.labels(version.name, "ok").inc()
        await self._set(key, Standing(State.READY, memory_bytes=needed))
        _logger.info("model ready", extra={"model": str(version), "bytes": needed})
        return resident

    async def _make_room(self, version: ModelVersion, needed: int) -> None:
        """Evict idle models, least recently used first, until ``needed`` bytes fit; reserve them."""
        async with self._memory:
            while self._used() + needed > self._budget:
                idle = [r for r in self._residents.values() if not r.leases]
                if needed > self._budget or not idle:
                    raise self._no_room(version, needed)
                await self._drop(min(idle, key=lambda resident: resident.last_used))
            self._reserved[version.key] = needed

    def _used(self) -> int:
        loaded = sum(resident.memory_bytes for resident in self._residents.values())
        return loaded + sum(v for k, v in self._reserved.items() if k not in self._residents)

    def _no_room(self, version: ModelVersion, needed: int) -> ServiceError:
        busy = ", ".join(f"{r.version} {r.memory_bytes}" for r in self._residents.values()) or "none"
        return ServiceError(
            Code.RESOURCE_EXHAUSTED,
            Reason.MEMORY_BUDGET,
            f"model {version} needs {needed} bytes; {self._budget - self._used()} of the budget of "
            f"{self._budget} are free (PEQUOD_MEMORY_BUDGET; loaded: {busy})",
            resource=("model", str(version)),
        )

    async def _drop(self, resident: Resident[M]) -> None:
        self._residents.pop(resident.version.key, None)
        await self._close(resident)

    async def _close(self, resident: Resident[M]) -> None:
        """Close a model that is in no table any more and has no leases."""
        key = resident.version.key
        await asyncio.to_thread(self._loader.close, resident.model)
        self._metrics.model_loaded.labels(*key).set(0)
        self._metrics.model_memory_bytes.labels(*key).set(0)
        if key not in self._residents and key not in self._loads:
            await self._set(key, Standing(State.AVAILABLE, memory_bytes=resident.version.manifest.size_bytes))

    def _raise_recent_failure(self, key: Key) -> None:
        failed_at, error = self._failures.get(key, (0.0, None))
        if error is not None and time.monotonic() - failed_at < FAILED_LOAD_PAUSE:
            raise error

    async def _fail(self, version: ModelVersion, error: ServiceError) -> None:
        key = version.key
        if self._failures.get(key, (0.0, None))[1] is not error:
            self._failures[key] = (time.monotonic(), error)
            self._metrics.model_loads.labels(version.name, "failed").inc()
            _logger.warning("model not loaded", extra={"model": str(version), "error": error.message})
        await self._set(key, Standing(State.FAILED, error=error.message))

    async def _set(self, key: Key, standing: Standing) -> None:
        self._standings[key] = standing
        async with self._changed:
            self._changed.notify_all()

    def _reporter(self, key: Key) -> Report:
        """A callback for threads that shows the progress of a pull to watchers."""
        loop = asyncio.get_running_loop()

        def report(done: int, total: int, message: str) -> None:
            standing = Standing(State.PULLING, done, total, message)
            asyncio.run_coroutine_threadsafe(self._set(key, standing), loop)

        return report

    async def _follow(self) -> None:
        """Keep the views true to the store, whoever moves its aliases."""
        async for change in self.store.watch():
            try:
                await self._refresh(change.name)
            except Exception:
                _logger.exception("could not follow the store", extra={"model": change.name})

    async def _refresh(self, name: str) -> None:
        """Switch every view of ``name`` whose version moved; load first when the old one is serving."""
        for reference, old in list(self._views.items()):
            if old.name != name:
                continue
            try:
                new = await self._resolve(reference)
                if new.key != old.key and old.key in self._residents:
                    await asyncio.shield(self._begin_load(new))
                self._views[reference] = new
            except ServiceError as error:
                gone = error.code is Code.NOT_FOUND
                if gone:
                    self._views.pop(reference, None)
                _logger.warning(
                    "alias not switched",
                    extra={"reference": reference, "serving": str(old), "error": error.message},
                )
