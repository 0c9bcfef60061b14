"""The HTTP side port of a process: /livez, /readyz and /metrics.

Probes go here because kubelet's gRPC probes know neither TLS nor keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from services.common.rpc.http_protocol import BoundedProtocol
from services.common.rpc.tls import ServerTls

_STEPS_OF_AN_ARRIVAL = 3
"""Of the loop, from when a connection was accepted until uvicorn knows of it."""


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers: the process that embeds it decides when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ends = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, and let ``serve`` return when those that are open have ended."""
        self.should_exit = True
        self._ends.set()

    async def main_loop(self) -> None:
        """As uvicorn's own: the date is set once a second. The end is an event here, not looked for."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, but at once where nobody is connected; that one sleeps a tenth of a second.

        And whoever was accepted just before is answered; that one asks too early who there is.
        """
        for server in self.servers:
            server.close()
        for _ in range(_STEPS_OF_AN_ARRIVAL):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for bound in sockets or ():
            bound.close()
        for server in self.servers:
            await server.wait_closed()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def side_app(registry: CollectorRegistry, ready: Callable[[], bool]) -> Starlette:
    """The three routes. ``ready`` says whether the process takes requests now."""

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        is_ready = ready()
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    async def metrics(_: Request) -> Response:
        # Not on the loop: a disk that is asked how full it is may hang.
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)],
    )


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket; ``port`` 0 takes a free one. Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return bound


@contextlib.asynccontextmanager
async def http_serving(
    app: ASGIApp, host: str, port: int, grace: int = 5, tls: ServerTls | None = None
) -> AsyncIterator[int]:
    """Serve ``app`` on this loop while the block runs; yields the port that was bound.

    On leaving, requests in flight get ``grace`` seconds to finish.
    """
    bound = listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=grace,
        http=BoundedProtocol,
        ws="none",
        ssl_context_factory=None if tls is None else lambda *_: tls.context(),
    )
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield int(bound.getsockname()[1])
    finally:
        server.end()
        await task
        bound.close()
