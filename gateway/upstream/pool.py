"""The replicas of one service, and which of them takes the next call."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence

from gateway.upstream.backend import Backend
from gateway.upstream.outlier import Outcome
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics

# A restarted service answers within about a second; asking sooner is pointless, later is wasted.
RECOVERY_SECONDS = 1.0
# Share of a service's backends that may be ejected at a time.
MAX_EJECTED = 0.5


class Pool:
    """Chooses the backend with the fewest calls on it among the healthy ones, in turn among equals."""

    def __init__(
        self,
        service: str,
        backends: Sequence[Backend],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.backends: tuple[Backend, ...] = ()
        self._metrics = metrics
        self._clock = clock
        self._turn = 0
        self._changed: Callable[[], None] | None = None
        self._watchers: dict[Backend, asyncio.Task[None]] = {}
        metrics.service_up.labels(service).set_function(lambda: float(self.healthy))
        for backend in backends:
            self.join(backend)

    @property
    def healthy(self) -> bool:
        """Whether any backend says that it serves."""
        return any(backend.serving for backend in self.backends)

    def pick(self, other_than: Backend | None = None) -> Backend:
        """The backend for the next call. Raises UNAVAILABLE, reason BACKEND_DOWN, when none is healthy.

        Ejected backends are passed over, unless nothing else is left.
        """
        healthy = [b for b in self.backends if b.serving and b is not other_than]
        if not healthy:
            raise backend_down(self.service, "no backend of it is healthy")
        now = self._clock()
        admitted = [b for b in healthy if b.outlier.admits(now)] or healthy
        self._turn += 1
        start = self._turn % len(admitted)
        return min(admitted[start:] + admitted[:start], key=_load)

    def begin(self, backend: Backend) -> None:
        """A call starts on ``backend``."""
        backend.outstanding += 1
        backend.outlier.begin()

    def end(self, backend: Backend, outcome: Outcome) -> None:
        """A call on ``backend`` ended; that may eject it, or let it back in."""
        backend.outstanding -= 1
        now = self._clock()
        backend.outlier.record(outcome, now)
        if backend.outlier.due and not backend.outlier.ejected and self._may_eject(backend):
            backend.outlier.eject(now)
            self._metrics.backend_ejections.labels(self.service, backend.address).inc()

    def join(self, backend: Backend) -> None:
        """``backend`` is one more replica; it takes calls as soon as it says that it serves."""
        self.backends += (backend,)
        up = self._metrics.backend_up.labels(self.service, backend.address)
        up.set_function(functools.partial(_up, backend))
        self._watch(backend)

    async def leave(self, backend: Backend) -> None:
        """``backend`` is a replica no more; calls that it still has end."""
        self.backends = tuple(b for b in self.backends if b is not backend)
        # A replica's address may never come again: nothing of it is kept.
        self._metrics.backend_up.remove(self.service, backend.address)
        self._metrics.backend_ejections.remove(self.service, backend.address)
        await self._unwatch(backend)
        if self._changed is not None:
            self._changed()

    def watch(self, changed: Callable[[], None]) -> None:
        """Follow the health of every backend; ``changed`` is called when one changes, or leaves."""
        self._changed = changed
        for backend in self.backends:
            self._watch(backend)

    async def close(self) -> None:
        """Stop watching and close the channels."""
        for backend in self.backends:
            await self._unwatch(backend)

    def _watch(self, backend: Backend) -> None:
        if self._changed is not None:
            self._watchers[backend] = asyncio.create_task(backend.watch(self._changed))

    async def _unwatch(self, backend: Backend) -> None:
        watcher = self._watchers.pop(backend, None)
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await backend.close()

    def _may_eject(self, backend: Backend) -> bool:
        ejected = sum(b.outlier.ejected for b in self.backends)
        others = any(b.serving and not b.outlier.ejected for b in self.backends if b is not backend)
        return others and ejected + 1 <= MAX_EJECTED * len(self.backends)


def backend_down(service: str, why: str) -> ServiceError:
    """UNAVAILABLE: the service cannot be reached now."""
    return ServiceError(
        Code.UNAVAILABLE,
        Reason.BACKEND_DOWN,
        f"service {service} is down: {why}",
        retry_after=RECOVERY_SECONDS,
        resource=("service", service),
    )


def _up(backend: Backend) -> float:
    return float(backend.serving)


def _load(backend: Backend) -> int:
    return backend.outstanding
