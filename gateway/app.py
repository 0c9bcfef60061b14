"""The gateway's parts put together: three listeners on one loop, and the one pipeline behind them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from gateway.grpc_door import GrpcDoor
from gateway.guard import Guard, guarding
from gateway.health import Health
from gateway.kserve import routes as kserve
from gateway.kserve.answers import Answers
from gateway.kserve.core import Core
from gateway.kserve.grpc_door import KserveDoor
from gateway.methods import MODELS, Method, grpc_services, method_table
from gateway.middleware.admission import Admission
from gateway.middleware.audited import Audited
from gateway.middleware.authenticate import Authenticate
from gateway.middleware.authorise import Authorise
from gateway.middleware.identify import Identify
from gateway.middleware.limit import Limit
from gateway.middleware.meter import Meter
from gateway.middleware.route import Route
from gateway.middleware.sanity import Sanity
from gateway.middleware.settle import Settle
from gateway.middleware.traced import Traced
from gateway.models import ModelDirectory
from gateway.openai import routes as openai
from gateway.pipeline import Counted, Proceed, compose
from gateway.routes.http import Fallback
from gateway.routes.page import page
from gateway.routes.rebound import OnlyByItsNames
from gateway.routes.rpc import RpcDoor
from gateway.routes.status import public_status
from gateway.routes.traced import Traced as TracedHttp
from gateway.settings import GatewaySettings, Listeners
from gateway.upstream.backend import Backend
from gateway.upstream.forward import Forward
from gateway.upstream.names import Named, is_name
from gateway.upstream.pool import Pool
from gateway.upstream.trust import BackendTrust, Credentials
from services.common.metrics import Metrics
from services.common.rpc.certificates import CertificateCollector, Held
from services.common.rpc.server import SERVER_OPTIONS, bind, check_bind, finish, is_loopback, stop_event
from services.common.rpc.side_port import http_serving, side_app
from services.common.rpc.tls import ServerTls, server_tls

_logger = logging.getLogger("pequod.gateway")


def pipeline(
    settings: GatewaySettings,
    guard: Guard,
    methods: Mapping[str, Method],
    pools: Mapping[str, Pool],
    metrics: Metrics,
) -> Proceed:
    """What happens to every call, in this order, whichever door it comes in by."""
    forward = Forward(metrics)
    with_models = {entry.name: pools[entry.name] for entry in settings.services if entry.has_models}
    others = [pools[entry.name] for entry in settings.services if not entry.has_models]
    return compose(
        [
            Identify(),  # ids and trace context
            Traced(),  # the call's span
            Settle(metrics),  # counts and times what comes after, however it ends
            Authenticate(guard.ring, guard.tokens),  # who calls, for which tenant
            Sanity(settings.policy),  # sizes, and a deadline for every call
            Meter(guard.ledger),  # usage, for whoever pays
            Audited(methods, guard.audit),  # who changed what
            Authorise(methods),  # groups of methods, models
            Limit(guard.accounts),  # the key's own limits, in calls and in work
            Admission([*pools, MODELS], settings.policy, metrics),  # a place, or a fair queue for one
            Route(pools, ModelDirectory(with_models, methods, forward, others)),  # which service
            forward,  # which backend; the call itself, and its one retry
        ]
    )


@dataclass(frozen=True)
class Ports:
    """Where a running gateway listens."""

    grpc: int
    http: int
    admin: int


async def serve(settings: GatewaySettings, metrics: Metrics) -> None:
    """Run until SIGTERM or SIGINT, then drain and return.

    Raises SettingsError for an address that may not be bound, OSError for one that is taken.
    """
    stop = stop_event()
    async with running(settings, metrics) as ports:
        _logger.info("serving", extra={"ports": vars(ports)})
        await stop.wait()


@contextlib.asynccontextmanager
async def running(settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[Ports]:
    """A gateway that serves while the block runs, and drains when it ends."""
    tls = server_tls(settings.tls)
    trust = BackendTrust(settings.backend_tls)
    held: list[Held] = [trust.held]
    if tls is not None:
        held.append(functools.partial(tls.held, "gateway"))
    metrics.registry.register(CertificateCollector(held))
    async with guarding(settings, metrics) as guard:
        check_bind(settings.listeners.host, settings.listeners.insecure, guard.asks)
        async with _listening(settings, guard, tls, trust.credentials, metrics) as ports:
            yield ports


@contextlib.asynccontextmanager
async def _listening(
    settings: GatewaySettings,
    guard: Guard,
    tls: ServerTls | None,
    credentials: Credentials,
    metrics: Metrics,
) -> AsyncIterator[Ports]:
    listeners = settings.listeners
    methods = method_table(settings.services)
    pools = {
        name: Pool(name, [Backend(each, credentials) for each in addresses if not is_name(each)], metrics)
        for name, addresses in settings.backends.items()
    }
    named = [
        Named(address, pools[name], credentials)
        for name, addresses in settings.backends.items()
        for address in filter(is_name, addresses)
    ]
    health_state = Health(settings.services, pools)
    chain = Counted(pipeline(settings, guard, methods, pools, metrics))
    core = Core()
    answers = Answers(core.models, core.statistics, lambda: health_state.ready)
    doors = (KserveDoor(core, answers, methods, chain), GrpcDoor(methods, chain))
    server = _grpc_server(settings, doors, health_state)
    public = _public(
        [
            *page(),
            *public_status(health_state),
            *openai.routes(methods, chain),
            *kserve.routes(core, answers, methods, chain),
        ],
        methods,
        chain,
    )
    if is_loopback(listeners.host) or listeners.names:
        public = OnlyByItsNames(public, listeners.names, lambda: not guard.asks)
    admin = side_app(metrics.registry, lambda: health_state.open)
    async with contextlib.AsyncExitStack() as stack, contextlib.AsyncExitStack() as http:
        stack.push_async_callback(_close, pools)
        port = bind(server, listeners.host, listeners.port, tls)
        host, grace = listeners.host, int(listeners.grace_seconds)
        admin_port = await stack.enter_async_context(http_serving(admin, host, listeners.admin_port))
        http_port = await http.enter_async_context(
            http_serving(public, host, listeners.http_port, grace, tls)
        )
        for pool in pools.values():
            pool.watch(health_state.changed)
        followers = [
            asyncio.create_task(follow())
            for follow in (health_state.follow, *(each.follow for each in named))
        ]
        await server.start()
        try:
            yield Ports(port, http_port, admin_port)
        finally:
            for follower in followers:
                follower.cancel()
            await _drain(server, chain, http, health_state, listeners)


def _public(routes: Sequence[BaseRoute], methods: Mapping[str, Method], chain: Proceed) -> ASGIApp:
    app = Starlette(routes=routes)
    refusals: dict[str, ASGIApp] = {
        "/v1/": openai.nothing(methods, chain),
        "/v2/": kserve.nothing(methods, chain),
    }
    app.router.default = Fallback(app.router.default, RpcDoor(methods, chain), refusals)
    return TracedHttp(app, methods)


def _grpc_server(
    settings: GatewaySettings, doors: Sequence[grpc.GenericRpcHandler], health_state: Health
) -> grpc.aio.Server:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health_state.servicer, server)
    names = (*grpc_services(settings.services), health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_generic_rpc_handlers(doors)  # last: the last of them answers for unknown methods too
    return server


async def _drain(
    server: grpc.aio.Server,
    calls: Counted,
    http: contextlib.AsyncExitStack,
    health_state: Health,
    listeners: Listeners,
) -> None:
    """Say NOT_SERVING, wait for balancers to notice, close both doors, let calls finish."""
    _logger.info("draining")
    await health_state.drain()
    await asyncio.sleep(listeners.drain_seconds)
    await asyncio.gather(finish(server, lambda: calls.running > 0, listeners.grace_seconds), http.aclose())
    _logger.info("stopped")


async def _close(pools: Mapping[str, Pool]) -> None:
    for pool in pools.values():
        await pool.close()
