"""Servers for ``bench_gateway``: a bare echo, and the least proxy before one.

``python -m tests.bench.gateway.echo`` serves the echo, with a port as argument the proxy before it; each
prints its own port.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.bench.gateway.load import GENERATE, GENERATE_STREAM, MESSAGES


async def serve_echo() -> None:
    """The bare server: answers a call with its request, a stream with MESSAGES times its request."""

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async def repeat(request: bytes, context: Any) -> None:
        for _ in range(MESSAGES):
            await context.write(request)

    await _serve(echo, repeat)


async def serve_proxy(port: int) -> None:
    """The least proxy: what a call costs before it has a deadline, metadata or a choice of backends."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    single, several = channel.unary_unary(GENERATE), channel.unary_stream(GENERATE_STREAM)

    async def call(request: bytes, _context: Any) -> Any:
        return await single(request)

    async def stream(request: bytes, context: Any) -> None:
        async for message in several(request):
            await context.write(message)

    await _serve(call, stream)


class Methods(grpc.GenericRpcHandler):
    """One unary method and one stream, on bytes."""

    def __init__(self, single: Any, several: Any) -> None:
        self._handlers = {
            GENERATE: grpc.unary_unary_rpc_method_handler(single),
            GENERATE_STREAM: grpc.unary_stream_rpc_method_handler(several),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        return self._handlers.get(handler_call_details.method)


async def _serve(single: Any, several: Any) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(single, several),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    sys.stdout.flush()
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve_proxy(int(sys.argv[1])) if len(sys.argv) > 1 else serve_echo())
