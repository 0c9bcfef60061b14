"""The JSON door: callers with a time limit, callers that vanish, callers that do not read."""

import asyncio
import socket

import pytest

from pequod.sampler.v1 import GenerateStreamResponse
from services.common.errors import Reason
from tests.unit.gateway.fakes import (
    GENERATE,
    GENERATE_STREAM,
    FakeBackend,
    asleep,
    backends,
)
from tests.unit.gateway.json_parts import answer, reason, spell, violated, works


@pytest.fixture
async def backend():
    async with backends(FakeBackend(**{GENERATE: answer, GENERATE_STREAM: spell})) as (fake,):
        yield fake


@pytest.mark.parametrize("headers", [{"x-timeout-seconds": "0.2"}, {"grpc-timeout": "200m"}])
async def test_a_callers_time_limit_holds(door, backend, headers):
    cancelled = asyncio.Event()
    backend.on(GENERATE, asleep(cancelled))
    reply = await door.http.post(GENERATE, json={}, headers=headers)
    assert reply.status_code == 504
    assert reason(reply) == Reason.DEADLINE
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-timeout-seconds", v) for v in ("soon", "0", "-1", "nan", "inf")]
    + [("grpc-timeout", v) for v in ("5", "5x", "1.5S", "123456789S", "")],
)
async def test_a_time_limit_that_is_none_is_refused(door, name, value):
    reply = await door.http.post(GENERATE, json={}, headers={name: value})
    assert reply.status_code == 400
    assert violated(reply) == name


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM])
async def test_a_caller_that_vanishes_ends_the_backends_work(door, backend, path):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work(request, context):
        started.set()
        try:
            while True:
                if path == GENERATE_STREAM:
                    await context.write(GenerateStreamResponse(text="x").SerializeToString())
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    backend.on(path, work)
    _, writer = await asyncio.open_connection(*door.base.removeprefix("http://").split(":"))
    writer.write(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}".encode())
    await asyncio.wait_for(started.wait(), 10)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.close()
    await asyncio.wait_for(cancelled.wait(), 10)
    backend.on(GENERATE, answer)
    assert await works(door)


async def test_a_stalled_reader_holds_the_backend_back(door, backend):
    written = 0

    async def flood(request, context):
        nonlocal written
        message = GenerateStreamResponse(text="x" * 65536).SerializeToString()
        for _ in range(2000):
            await context.write(message)
            written += 1

    backend.on(GENERATE_STREAM, flood)
    _, writer = await asyncio.open_connection(*door.base.removeprefix("http://").split(":"), limit=1024)
    writer.write(
        f"POST {GENERATE_STREAM} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    )
    seen = -1
    while written == 0 or seen != written:
        seen = written
        await asyncio.sleep(0.3)
    assert written < 2000
    writer.transport.abort()
