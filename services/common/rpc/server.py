"""The life of a service process: start, load, serve, drain on SIGTERM, exit."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.catalogue import ServiceEntry
from services.common.gpus import GpuCollector, Gpus
from services.common.metrics import Metrics
from services.common.rpc.certificates import CertificateCollector
from services.common.rpc.interceptors import CallInterceptor
from services.common.rpc.process import ProcessSettings
from services.common.rpc.side_port import http_serving, side_app
from services.common.rpc.tls import ServerTls, TlsSettings, bind_port, server_tls
from services.common.settings import SettingsError, from_environment, setting

MAX_MESSAGE_BYTES = 32 * 2**20
_IDLE_POLL = 0.02  # seconds between looks at whether the last call has ended

_logger = logging.getLogger("pequod.server")

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A second process on the same port must fail to start, not share the connections.
    ("grpc.so_reuseport", 0),
    # The gateway asks every four seconds whether a service still moves, and Envoy every five of the gateway.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True)
class ServerSettings(ProcessSettings):
    """Where a service listens."""

    port: int = setting(0, env="PEQUOD_{SERVICE}_PORT", help="gRPC port.", minimum=0, maximum=65535)
    side_port: int = setting(
        0,
        env="PEQUOD_{SERVICE}_SIDE_PORT",
        help="HTTP port of /livez, /readyz and /metrics.",
        minimum=0,
        maximum=65535,
    )
    tls: TlsSettings = field(default_factory=TlsSettings)


def server_settings(service: ServiceEntry, environ: Mapping[str, str]) -> ServerSettings:
    """Where ``service`` listens: its own ports unless the environment says otherwise."""
    prefix = f"PEQUOD_{service.name.upper()}"
    ports = {f"{prefix}_PORT": str(service.port), f"{prefix}_SIDE_PORT": str(service.side_port)}
    settings = from_environment(ServerSettings, {**ports, **environ}, service=service.name)
    return replace(settings, tls=from_environment(TlsSettings, environ, service="services"))


class Service(Protocol):
    """What a service process brings: its servicers, and its own start and end."""

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add the servicers; return the full names of their gRPC services."""

    async def start(self) -> None:
        """Load what must be there before the process counts as ready."""

    async def close(self) -> None:
        """Let go of everything, after the last call ended."""


async def serve(service: Service, settings: ServerSettings, metrics: Metrics) -> None:
    """Run ``service`` until SIGTERM or SIGINT, then drain and return.

    Raises SettingsError for an address that may not be bound, OSError for one that is taken.
    """
    tls = server_tls(settings.tls)
    metrics.registry.register(GpuCollector(Gpus()))
    held = [] if tls is None else [functools.partial(tls.held, "services")]
    metrics.registry.register(CertificateCollector(held))
    check_bind(settings.host, settings.insecure, "client certificates" if settings.tls.client_ca else "")
    stop = stop_event()
    calls = CallInterceptor(metrics)
    server = grpc.aio.server(interceptors=[calls], options=SERVER_OPTIONS)
    names = service.register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = bind(server, settings.host, settings.port, tls)
    serving = asyncio.Event()
    app = side_app(metrics.registry, serving.is_set)
    async with http_serving(app, settings.host, settings.side_port) as side_port, closing(service):
        await _set_health(health_servicer, names, health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        await service.start()
        await _set_health(health_servicer, names, health_pb2.HealthCheckResponse.SERVING)
        serving.set()
        _logger.info("serving", extra={"port": port, "side_port": side_port})
        await stop.wait()
        serving.clear()
        await drain(server, health_servicer, calls, settings)


async def drain(
    server: grpc.aio.Server,
    health_servicer: health.aio.HealthServicer,
    calls: CallInterceptor,
    settings: ServerSettings,
) -> None:
    """Say NOT_SERVING, wait for balancers to notice, close the listener, let calls finish.

    ``stop`` closes the listener at once, so it never comes first.
    """
    _logger.info("draining")
    await health_servicer.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_seconds)
    await finish(server, lambda: calls.running > 0, settings.grace_seconds)
    _logger.info("stopped")


async def finish(server: grpc.aio.Server, busy: Callable[[], bool], grace: float) -> None:
    """Close the listener; return when no call is ``busy``, at the latest after ``grace`` seconds.

    Who only watches our health keeps a stream open for ever and must not hold up the end.
    """
    stopping = asyncio.create_task(server.stop(grace))
    await asyncio.sleep(_IDLE_POLL)  # calls that came just before have their handlers started by now
    while busy() and not stopping.done():
        await asyncio.sleep(_IDLE_POLL)
    await server.stop(0)
    await stopping


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def check_bind(host: str, insecure: bool, guard: str = "") -> None:
    """Refuse to listen beyond this machine without a guard, unless the operator insists.

    ``guard`` names what keeps strangers out; empty: nothing does.
    """
    if guard or insecure or is_loopback(host):
        return
    raise SettingsError(
        f"PEQUOD_HOST={host!r} would let other machines in without keys or TLS: make keys with `pequod keys "
        "create` (gateway) or set PEQUOD_SERVICES_TLS_CLIENT_CA (services); or set PEQUOD_HOST=127.0.0.1, or "
        "PEQUOD_INSECURE=1 to insist."
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(server: grpc.aio.Server, host: str, port: int, tls: ServerTls | None = None) -> int:
    """Bind ``server`` to ``host:port`` (0: a free one); returns the port. Raises OSError when it is taken."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return bind_port(server, address, tls)
    except RuntimeError:
        raise OSError(f"cannot listen on {address}: the address is in use or not ours") from None


@contextlib.asynccontextmanager
async def closing(service: Service) -> AsyncIterator[None]:
    """Close ``service`` when the block ends, however it ends."""
    try:
        yield
    finally:
        await service.close()


async def _set_health(servicer: health.aio.HealthServicer, names: Sequence[str], value: int) -> None:
    for name in ("", *names):
        await servicer.set(name, value)
