"""The gateway's health: that of the services behind it, as grpc.health.v1 and as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from grpc_health.v1 import health, health_pb2

from gateway.methods import KSERVE_SERVICE
from gateway.upstream.pool import Pool
from services.common.catalogue import MODEL_SERVICE, ServiceEntry

_Status = health_pb2.HealthCheckResponse


class Health:
    """Follows the pools. ``servicer`` answers Check and Watch: "" stands for all services together."""

    def __init__(self, services: Sequence[ServiceEntry], pools: Mapping[str, Pool]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._services = services
        self._pools = pools
        self._changed = asyncio.Event()
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether every service has a healthy backend and calls are taken."""
        return not self._draining and all(pool.healthy for pool in self._pools.values())

    @property
    def open(self) -> bool:
        """Whether calls are taken for any service: what a balancer in front of gateways asks.

        One service that is down must not take all gateways away from callers of the others.
        """
        return not self._draining and any(pool.healthy for pool in self._pools.values())

    def changed(self) -> None:
        """A backend came up or went down."""
        self._changed.set()

    async def follow(self) -> None:
        """Keep the servicer true to the pools, until cancelled."""
        while True:
            self._changed.clear()
            for name, healthy in self._states().items():
                await self.servicer.set(name, _Status.SERVING if healthy else _Status.NOT_SERVING)
            await self._changed.wait()

    async def drain(self) -> None:
        """NOT_SERVING from now on, whatever the services say."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    def report(self) -> dict[str, Any]:
        """What /readyz shows."""
        return {
            "ready": self.ready,
            "draining": self._draining,
            "services": {name: _service_report(pool) for name, pool in self._pools.items()},
        }

    def _states(self) -> dict[str, bool]:
        with_models = [self._pools[entry.name] for entry in self._services if entry.has_models]
        states = {"": self.ready, KSERVE_SERVICE: self.ready}
        states[MODEL_SERVICE] = any(pool.healthy for pool in with_models)
        for entry in self._services:
            states |= dict.fromkeys(entry.grpc_services, self._pools[entry.name].healthy)
        return states


def _service_report(pool: Pool) -> dict[str, Any]:
    backends = [
        {
            "address": backend.address,
            "healthy": backend.serving,
            "ejected": backend.outlier.ejected,
            "inflight": backend.outstanding,
        }
        for backend in pool.backends
    ]
    return {"ready": pool.healthy, "backends": backends}
