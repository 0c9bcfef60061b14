"""The models in memory: one load for all who ask, leases, the memory budget, evictions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Generic

from services.common.errors import Code, Reason, ServiceError, draining, loading
from services.common.metrics import Metrics
from services.common.residency.contract import Key, Loaded, Loader, M, Resident, Standing, State
from services.common.residency.failures import panics
from services.common.residency.standings import Standings
from services.common.store import ModelStore, ModelVersion
from services.common.tracing import spans

FAILED_LOAD_PAUSE = 1.0  # seconds in which a failed load is reported again instead of tried again
CLOSE_WAIT = 5.0  # seconds in which the last users of a model may end when the process closes

_logger = logging.getLogger("pequod.residency")


class Pool(Generic[M]):
    """Loaded versions within ``budget_bytes``. All methods run on one event loop; reading runs in threads."""

    def __init__(self, store: ModelStore, loader: Loader[M], metrics: Metrics, budget_bytes: int) -> None:
        self.standings = Standings()
        self._store = store
        self._loader = loader
        self._metrics = metrics
        self.budget_bytes = budget_bytes
        self._residents: dict[Key, Resident[M]] = {}
        self._leaving: dict[Resident[M], asyncio.Task[None]] = {}
        self._loads: dict[Key, asyncio.Task[Loaded[M]]] = {}
        self._awaited: Counter[Key] = Counter()
        self._reserved: dict[Key, int] = {}
        self._failures: dict[Key, tuple[float, ServiceError]] = {}
        self._memory = asyncio.Lock()
        self._closing = False

    def holds(self, version: ModelVersion) -> bool:
        """Whether a request for this version would be served at once."""
        return version.key in self._residents

    async def acquire(self, version: ModelVersion, wait: float | None = None) -> Resident[M]:
        """A lease of a model, which ``release`` ends; loads it when it must.

        Raises UNAVAILABLE, reason LOADING, when that takes longer than ``wait`` seconds.
        """
        key = version.key
        deadline = None if wait is None else time.monotonic() + wait
        # An awaited model is not evicted between the end of its load and the lease.
        self._awaited[key] += 1
        try:
            if (resident := self._residents.get(key)) is None:
                with spans.span("wait for model", {"pequod.model": str(version)}):
                    resident = await self._loaded(version, deadline, wait)
            resident.leases += 1
            resident.idle.clear()
            return resident
        finally:
            self._awaited[key] -= 1
            if not self._awaited[key]:
                del self._awaited[key]

    async def _loaded(self, version: ModelVersion, deadline: float | None, wait: float | None) -> Resident[M]:
        """The model in memory once it is there."""
        while (resident := self._residents.get(version.key)) is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            task = self.begin_load(version)
            done, _ = await asyncio.wait({task}, timeout=left)
            if not done:
                raise loading(str(version), retry_after=wait or 1.0)
            task.result()
        return resident

    def release(self, resident: Resident[M]) -> None:
        """End a lease."""
        resident.leases -= 1
        resident.last_used = time.monotonic()
        if not resident.leases:
            resident.idle.set()

    def begin_load(self, version: ModelVersion) -> asyncio.Task[Loaded[M]]:
        """The one task that loads a version, however many wait for it and whoever stops waiting."""
        task = self._loads.get(version.key)
        if task is None:
            task = asyncio.create_task(self._load(version))
            self._loads[version.key] = task
            # Perhaps nobody waits any more; the failure is kept in the standing.
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return task

    async def unload(self, version: ModelVersion) -> None:
        """Take no new leases, wait for those there are, let go. A load under way is waited for first."""
        if task := self._loads.get(version.key):
            await asyncio.wait({task})
        if resident := self._residents.get(version.key):
            self._retire(resident)
        leaving = [task for r, task in self._leaving.items() if r.version.key == version.key]
        if leaving:
            await asyncio.wait(leaving)

    async def close(self) -> None:
        """Begin no load, wait for those that run (a thread cannot be stopped), close every model."""
        self._closing = True
        if self._loads:
            await asyncio.wait(self._loads.values())
        for resident in list(self._residents.values()):
            self._retire(resident)
        if self._leaving:
            await asyncio.wait(self._leaving.values(), timeout=CLOSE_WAIT)
        for resident in self._leaving:
            resident.idle.set()
        if self._leaving:
            await asyncio.wait(self._leaving.values())

    async def _load(self, version: ModelVersion) -> Loaded[M]:
        key = version.key
        try:
            if resident := self._residents.get(key):
                return Loaded(resident)
            self._raise_recent_failure(key)
            # Below the call that began it; others only wait for it.
            with spans.span("load model", {"pequod.model": str(version)}):
                return await self._read(version)
        except ServiceError as error:
            self._fail(version, error)
            raise
        except Exception as error:
            _logger.exception("load failed", extra={"model": str(version)})
            failure = ServiceError(
                Code.FAILED_PRECONDITION,
                Reason.LOAD_FAILED,
                f"model {version} cannot be loaded: {type(error).__name__}",
                resource=("model", str(version)),
            )
            self._fail(version, failure)
            raise failure from error
        finally:
            del self._loads[key]
            self._reserved.pop(key, None)

    async def _read(self, version: ModelVersion) -> Loaded[M]:
        """The load itself: fetch, make room, read, warm up."""
        key = version.key
        self._raise_closing()
        self.standings.set(key, Standing(State.PULLING))
        with spans.span("fetch files"):
            path = await self._store.fetch(version, self.standings.reporter(key))
        needed = await asyncio.to_thread(self._loader.memory_bytes, version, path)
        self.standings.set(key, Standing(State.LOADING, memory_bytes=needed))
        with spans.span("make room"):
            evicted = await self._make_room(version, needed)
        self._raise_closing()
        with spans.span("read and warm up", {"pequod.bytes": needed}):
            model = await asyncio.to_thread(self._bring_up, version, path)
        resident = Resident(version, model, needed, last_used=time.monotonic())
        self._residents[key] = resident
        self._metrics.model_loaded.labels(*key).set(1)
        self._metrics.model_memory_bytes.labels(*key).set(needed)
        self._metrics.model_loads.labels(version.name, "ok").inc()
        self.standings.set(key, Standing(State.READY, memory_bytes=needed))
        _logger.info("model ready", extra={"model": str(version), "bytes": needed})
        return Loaded(resident, evicted)

    def _bring_up(self, version: ModelVersion, path: Path) -> M:
        with panics(version):
            model = self._loader.load(version, path)
            try:
                self._loader.warm_up(model)
            except BaseException:
                self._loader.close(model)
                raise
        return model

    async def _make_room(self, version: ModelVersion, needed: int) -> tuple[str, ...]:
        """Evict idle models, least recently used first, until ``needed`` bytes fit; reserve them."""
        evicted: list[str] = []
        async with self._memory:
            while (missing := self.used_bytes + needed - self.budget_bytes) > 0:
                ending = [task for resident, task in self._leaving.items() if not resident.leases]
                idle = [
                    r for r in self._residents.values() if not r.leases and not self._awaited[r.version.key]
                ]
                if ending:
                    await asyncio.wait(ending)
                elif sum(resident.memory_bytes for resident in idle) < missing:
                    raise self._no_room(version, needed)
                else:
                    oldest = min(idle, key=lambda resident: resident.last_used)
                    evicted.append(str(oldest.version))
                    await asyncio.wait({self._retire(oldest)})
            self._reserved[version.key] = needed
        return tuple(evicted)

    @property
    def used_bytes(self) -> int:
        """Of what is loaded, is leaving, or has room reserved."""
        held = (*self._residents.values(), *self._leaving)
        return sum(resident.memory_bytes for resident in held) + sum(self._reserved.values())

    def _no_room(self, version: ModelVersion, needed: int) -> ServiceError:
        busy = ", ".join(f"{r.version} {r.memory_bytes}" for r in self._residents.values()) or "none"
        return ServiceError(
            Code.RESOURCE_EXHAUSTED,
            Reason.MEMORY_BUDGET,
            f"model {version} needs {needed} bytes; {self.budget_bytes - self.used_bytes} of the budget of "
            f"{self.budget_bytes} are free (PEQUOD_MEMORY_BUDGET; loaded: {busy})",
            resource=("model", str(version)),
        )

    def _retire(self, resident: Resident[M]) -> asyncio.Task[None]:
        """Out of the table now; closed by a task of its own once its last lease has ended."""
        del self._residents[resident.version.key]
        self.standings.set(
            resident.version.key, Standing(State.UNLOADING, memory_bytes=resident.memory_bytes)
        )
        self._leaving[resident] = asyncio.create_task(self._leave(resident))
        return self._leaving[resident]

    async def _leave(self, resident: Resident[M]) -> None:
        key = resident.version.key
        if resident.leases:
            await resident.idle.wait()
        try:
            await asyncio.to_thread(self._loader.close, resident.model)
        except Exception:
            _logger.exception("model not closed cleanly", extra={"model": str(resident.version)})
        del self._leaving[resident]
        if key not in self._residents:
            self._metrics.model_loaded.labels(*key).set(0)
            self._metrics.model_memory_bytes.labels(*key).set(0)
        if key not in self._residents and key not in self._loads:
            size = resident.version.manifest.size_bytes
            self.standings.set(key, Standing(State.AVAILABLE, memory_bytes=size))

    def _raise_recent_failure(self, key: Key) -> None:
        failed_at, error = self._failures.get(key, (0.0, None))
        if error is not None and time.monotonic() - failed_at < FAILED_LOAD_PAUSE:
            raise error.with_traceback(None)

    def _raise_closing(self) -> None:
        if self._closing:
            raise draining()

    def _fail(self, version: ModelVersion, error: ServiceError) -> None:
        key = version.key
        if self._failures.get(key, (0.0, None))[1] is not error:
            self._failures[key] = (time.monotonic(), error)
            self._metrics.model_loads.labels(version.name, "failed").inc()
            _logger.warning("model not loaded", extra={"model": str(version), "error": str(error)})
        self.standings.set(key, Standing(State.FAILED, error=error.message))
