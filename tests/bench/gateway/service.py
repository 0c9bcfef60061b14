"""A service that does nothing for a while: so many calls at a time, first come first served, no tenants.

``python -m tests.bench.gateway.service SLOTS MILLISECONDS`` (on average) prints its port. It reports waiting
and working times as every service of the platform does.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pequod.common.v1 import Usage
from services.common.rpc.usage import accepted, report
from tests.bench.gateway.load import GENERATE


class Methods(grpc.GenericRpcHandler):
    """The one method."""

    def __init__(self, slots: int, seconds: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._seconds = seconds
        self._dice = random.Random(2)
        self._handler = grpc.unary_unary_rpc_method_handler(self._work)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Its handler."""
        return self._handler if handler_call_details.method == GENERATE else None

    async def _work(self, request: bytes, context: Any) -> bytes:
        came = time.perf_counter()
        async with self._slots:
            await accepted(context)
            waited = time.perf_counter() - came
            seconds = self._seconds * self._dice.uniform(0.5, 1.5)  # as real calls differ
            await asyncio.sleep(seconds)
        report(context, Usage(model="none", queue_ms=1e3 * waited, compute_ms=1e3 * seconds))
        return request


async def serve(slots: int, seconds: float) -> None:
    """Until it is ended."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(slots, seconds),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    sys.stdout.flush()
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1e3))
