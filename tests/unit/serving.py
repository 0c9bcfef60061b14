"""A service's process behind a real gRPC server in this process, and what a refused call says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.common.metrics import Metrics
from services.common.rpc import server as rpc_server
from services.common.rpc.interceptors import CallInterceptor
from services.common.rpc.server import Service
from services.common.rpc.status import DETAILS_KEY

_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


@asynccontextmanager
async def serving(process: Service, metrics: Metrics) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to ``process``, which is started, and closed at the end."""
    server = grpc.aio.server(interceptors=[CallInterceptor(metrics)], options=rpc_server.SERVER_OPTIONS)
    process.register(server)
    port = rpc_server.bind(server, "127.0.0.1", 0)
    await server.start()
    await process.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_UNLIMITED) as channel:
        yield channel
    await server.stop(None)
    await process.close()


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, str | None]:
    """Status code, message, and the first field violated (or None) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
    bad = error_details_pb2.BadRequest()
    field = bad.field_violations[0].field if any(p.Unpack(bad) for p in rich.details) else None
    return error.code(), error.details(), field
