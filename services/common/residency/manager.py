"""Which version a reference stands for in this process, and switches that no request notices."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Generic

from services.common import tenants
from services.common.errors import Code, Reason, ServiceError, loading, model_not_found
from services.common.metrics import Metrics
from services.common.residency.contract import Loader, M, Resident, Standing, State
from services.common.residency.pool import FAILED_LOAD_PAUSE, Pool
from services.common.store import ModelStore, ModelVersion

_HUB_FAILURE_PAUSE = 5.0  # seconds in which a failed look at the hub is reported again
_LONGEST_SWITCH_PAUSE = 30.0  # seconds between tries to load the version an alias has moved to

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
        self._load_wait = load_wait
        self._pool = Pool(store, loader, metrics, budget_bytes)
        self._views: dict[str, ModelVersion] = {}
        self._coming: dict[str, ModelVersion] = {}
        self._failed_switches: set[str] = set()
        self._looks: dict[tuple[str, str], asyncio.Task[ModelVersion]] = {}  # by tenant too: what one sees
        self._hub_failures: dict[str, tuple[float, ServiceError]] = {}
        self._refreshes = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._switches: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._follower: asyncio.Task[None] | None = None

    async def start(self, preload: Sequence[str] = ()) -> None:
        """Begin to follow the store and load ``preload``; one that cannot be loaded keeps no other away."""
        self._follower = asyncio.create_task(self._follow())
        for reference in preload:
            try:
                await self.load(reference)
            except ServiceError as error:
                _logger.warning("not preloaded", extra={"model": reference, "error": str(error)})

    async def close(self) -> None:
        """Stop following, wait for loads, close every model."""
        switches = [task for _, task in self._switches.values()]
        tasks = [task for task in (self._follower, *switches, *self._looks.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def use(self, reference: str) -> AsyncIterator[Resident[M]]:
        """Hold the model that ``reference`` stands for; it stays in memory while the block runs.

        Raises UNAVAILABLE, reason LOADING, while it is not loaded yet; the load goes on.
        """
        resident = await self._acquire(reference, time.monotonic() + self._load_wait)
        try:
            yield resident
        finally:
            self._pool.release(resident)

    async def load(self, reference: str) -> tuple[Resident[M], list[str]]:
        """Bring a model into memory, however long it takes; returns it and the models that had to leave."""
        seen = self._refreshes
        version = await self.version_of(reference)
        loaded = await asyncio.shield(self._pool.begin_load(version))
        if seen == self._refreshes:
            self._views[reference] = version
        else:
            # An alias moved meanwhile; what this reference stands for now is not known here.
            self._switch_soon(version.name)
        return loaded.resident, sorted(loaded.evicted)

    async def unload(self, reference: str) -> ModelVersion:
        """Take no new requests for a model, wait for those that run, and let it go."""
        version = await self.version_of(reference)
        await self._pool.unload(version)
        return version

    async def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Move an alias in the store and here; returns the version it named before."""
        if version:
            await self._check_kind(name, version)
        before = await self.store.set_alias(name, alias, version, expected)
        if not await asyncio.shield(self._refresh(name)):
            self._switch_soon(name)
        return before

    async def version_of(self, reference: str) -> ModelVersion:
        """The version a reference stands for in the store now. Raises NOT_FOUND."""
        version = await self.store.resolve(reference)
        if version.manifest.kind not in self._loader.kinds:
            error = model_not_found(reference, ())
            error.message = f"{version} is a {version.manifest.kind.value} model, which another service runs"
            raise error
        return version

    async def serving(self, reference: str) -> ModelVersion:
        """The version that requests for a reference are given now, loaded or not; looked up once."""
        version = self._view(reference)
        if version is None or not tenants.sees(version.manifest.tenant):
            return await self._look(reference)
        return version

    @property
    def memory_bytes(self) -> int:
        """What its models hold, those that are being loaded included."""
        return self._pool.used_bytes

    @property
    def budget_bytes(self) -> int:
        """What they may hold."""
        return self._pool.budget_bytes

    async def aliases_of(self, version: ModelVersion) -> tuple[str, ...]:
        """The aliases that name a version now."""
        return await self.store.aliases_of(version)

    async def list_versions(self) -> list[ModelVersion]:
        """Every version of the store that this process can run."""
        return [v for v in await self.store.list_versions() if v.manifest.kind in self._loader.kinds]

    def standing(self, version: ModelVersion) -> Standing:
        """State, progress and memory of a version in this process."""
        return self._pool.standings.get(version.key, _untouched(version))

    def watch(self, version: ModelVersion) -> AsyncGenerator[Standing, None]:
        """The standing of a version, now and after each change; ends when the caller closes it."""
        return self._pool.standings.watch(version.key, _untouched(version))

    async def _acquire(self, reference: str, deadline: float) -> Resident[M]:
        version = await self.serving(reference)
        try:
            return await self._pool.acquire(version, max(0.0, deadline - time.monotonic()))
        except ServiceError as error:
            old = self._views.get(reference)
            if old is None or old.key == version.key or error.reason is Reason.LOADING:
                raise
            # What the alias moved to cannot be loaded, and the old version had left to make room for it.
            return await self._pool.acquire(old, max(0.0, deadline - time.monotonic()))

    def _view(self, reference: str) -> ModelVersion | None:
        """The version to serve now. While a switch is under way and the old one had to leave: the new one."""
        version = self._views.get(reference)
        coming = self._coming.get(reference)
        if version and coming and not self._pool.holds(version):
            return coming
        return version

    async def _look(self, reference: str) -> ModelVersion:
        """Resolve a reference seen for the first time; one look for all who ask.

        A look at the hub may be a long download, so nobody waits longer for it than for a load.
        """
        from_hub = reference.startswith("hf:")
        if from_hub:
            self._raise_hub_failure(reference)
        key = tenants.current(), reference
        task = self._looks.get(key)
        if task is None:
            task = asyncio.create_task(self._find_view(key))
            self._looks[key] = task
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        done, _ = await asyncio.wait({task}, timeout=self._load_wait if from_hub else None)
        if not done:
            raise loading(reference, retry_after=self._load_wait or 1.0)
        return task.result()

    async def _find_view(self, key: tuple[str, str]) -> ModelVersion:
        _, reference = key
        try:
            while True:
                seen = self._refreshes
                version = await self.version_of(reference)
                # A view that an alias' move has missed would stay wrong, so look again.
                if seen == self._refreshes:
                    return self._views.setdefault(reference, version)
        except ServiceError as error:
            if reference.startswith("hf:"):
                self._keep_hub_failure(reference, error)
            raise
        finally:
            del self._looks[key]

    def _keep_hub_failure(self, reference: str, error: ServiceError) -> None:
        oldest = time.monotonic() - _HUB_FAILURE_PAUSE
        self._hub_failures = {key: kept for key, kept in self._hub_failures.items() if kept[0] > oldest}
        self._hub_failures[reference] = (time.monotonic(), error)

    def _raise_hub_failure(self, reference: str) -> None:
        failed_at, error = self._hub_failures.get(reference, (0.0, None))
        if error is not None and time.monotonic() - failed_at < _HUB_FAILURE_PAUSE:
            raise error.with_traceback(None)

    async def _check_kind(self, name: str, version: str) -> None:
        """Refuse a model that another service runs; the store itself refuses one that is not there."""
        try:
            await self.version_of(f"{name}:{version}")
        except ServiceError as error:
            if any(
                each.version == version and each.name == name for each in await self.store.list_versions()
            ):
                raise error from None

    async def _follow(self) -> None:
        """Keep the views true to the store, whoever moves its aliases."""
        async with contextlib.aclosing(self.store.watch()) as changes:
            async for change in changes:
                self._switch_soon(change.name)

    def _switch_soon(self, name: str) -> None:
        """Have the views of ``name`` refreshed by a task of their own: no model waits for another's load."""
        if name in self._switches:
            self._switches[name][0].set()
        elif any(view.name == name for view in self._views.values()) or self._looks:
            changed = asyncio.Event()
            self._switches[name] = changed, asyncio.create_task(self._switch(name, changed))

    async def _switch(self, name: str, changed: asyncio.Event) -> None:
        """Refresh until it succeeds and nothing has changed meanwhile."""
        pause = FAILED_LOAD_PAUSE
        try:
            while True:
                changed.clear()
                if not await self._refresh(name):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), pause)
                    pause = min(2 * pause, _LONGEST_SWITCH_PAUSE)
                elif not changed.is_set():
                    return
        finally:
            del self._switches[name]

    async def _refresh(self, name: str) -> bool:
        """Switch every view of ``name`` whose version moved; False when one could not follow."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            self._refreshes += 1
            mine = [(reference, view) for reference, view in self._views.items() if view.name == name]
            return all([await self._advance(reference, view) for reference, view in mine])

    async def _advance(self, reference: str, old: ModelVersion) -> bool:
        try:
            new = await self.version_of(reference)
            # An old version that left only to make room for a new one that failed still counts as serving.
            if new.key != old.key and (self._pool.holds(old) or reference in self._failed_switches):
                # The new version is held until the view shows it, so that nothing evicts it before.
                self._coming[reference] = new
                resident = await self._pool.acquire(new)
                self._views[reference] = new
                self._pool.release(resident)
            self._views[reference] = new
            self._failed_switches.discard(reference)
            return True
        except ServiceError as error:
            if error.code is Code.NOT_FOUND:
                self._views.pop(reference, None)
            else:
                self._failed_switches.add(reference)
            details = {"reference": reference, "serving": str(old), "error": str(error)}
            _logger.warning("alias not switched", extra=details)
            return error.code is Code.NOT_FOUND
        except Exception:
            _logger.exception("could not follow the store", extra={"reference": reference})
            return False
        finally:
            self._coming.pop(reference, None)


def _untouched(version: ModelVersion) -> Standing:
    return Standing(State.AVAILABLE, memory_bytes=version.manifest.size_bytes)
