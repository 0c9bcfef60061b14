"""Calls through the gateway that end early: deadlines, callers that leave, readers that are slow."""

import asyncio

import grpc
import pytest

from gateway.settings import Policy
from services.common.errors import Reason
from tests.unit.gateway.fakes import (
    EMBED_STREAM,
    GENERATE,
    GENERATE_STREAM,
    UPLOAD,
    FakeBackend,
    asleep,
    backends,
    gateway,
    reason,
)


@pytest.fixture
async def backend():
    async with backends(FakeBackend()) as (fake,):
        yield fake


async def test_the_deadline_is_forwarded(door, backend):
    remaining = []

    async def look(request, context):
        remaining.append(context.time_remaining())
        return b""

    backend.on(GENERATE, look)
    await door.stub(GENERATE)(b"", timeout=20)
    await door.stub(GENERATE)(b"")
    await door.stub(GENERATE)(b"", timeout=10**6)
    # On the wire a timeout has few digits and is rounded up.
    assert 0 < remaining[0] < 21
    assert 21 < remaining[1] < Policy().unary_seconds * 1.05
    assert Policy().unary_seconds * 1.05 < remaining[2] < Policy().max_seconds * 1.05


async def test_a_stream_of_requests_gets_the_deadline_of_streams(backend):
    remaining = []

    async def look(requests, context):
        remaining.append(context.time_remaining())
        return b""

    backend.on(UPLOAD, look)
    async with gateway(finetune=[backend]) as door:
        await door.stub(UPLOAD)(iter([b"a"]))
    assert Policy().unary_seconds * 1.05 < remaining[0] < Policy().stream_seconds * 1.05


async def test_a_passed_deadline_ends_the_backends_work(door, backend):
    cancelled = asyncio.Event()
    backend.on(GENERATE, asleep(cancelled))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub(GENERATE)(b"", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_the_default_deadline_applies_and_says_so(backend):
    async def sleep(request, context):
        await asyncio.sleep(60)

    backend.on(GENERATE, sleep)
    async with gateway(sampler=[backend], policy=Policy(unary_seconds=0.2)) as door:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.stub(GENERATE)(b"")
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason(caught.value) == Reason.DEADLINE
        assert "sampler" in caught.value.details()


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM, UPLOAD, EMBED_STREAM])
async def test_a_callers_cancel_reaches_the_backend(door, backend, path):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def sleep(request, context):
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def forever():
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    backend.on(path, sleep)
    call = door.stub(path)(forever() if path in {UPLOAD, EMBED_STREAM} else b"")
    waiting = asyncio.ensure_future(call.read()) if path in {GENERATE_STREAM, EMBED_STREAM} else None
    await asyncio.wait_for(started.wait(), 10)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 10)
    if waiting is not None:
        with pytest.raises(asyncio.CancelledError):
            await waiting
    while door.sample("pequod_inflight", service="sampler"):
        await asyncio.sleep(0.01)


async def test_a_cancel_between_replies_reaches_the_backend(door, backend):
    cancelled = asyncio.Event()

    async def drip(request, context):
        try:
            while True:
                await context.write(b"x")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    backend.on(GENERATE_STREAM, drip)
    call = door.stub(GENERATE_STREAM)(b"")
    for _ in range(3):
        assert await call.read() == b"x"
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_a_backends_early_end_stops_the_callers_stream(door, backend):
    async def enough(requests, context):
        async for message in requests:
            return message

    async def forever():
        while True:
            yield b"chunk"
            await asyncio.sleep(0.01)

    backend.on(UPLOAD, enough)
    assert await asyncio.wait_for(door.stub(UPLOAD)(forever()), 10) == b"chunk"


async def test_a_slow_reader_holds_the_backend_back(door, backend):
    written = 0

    async def flood(request, context):
        nonlocal written
        for _ in range(2000):
            await context.write(b"x" * 65536)
            written += 1

    backend.on(GENERATE_STREAM, flood)
    call = door.stub(GENERATE_STREAM)(b"")
    await call.read()
    seen = -1
    while seen != written:  # until it no longer moves
        seen = written
        await asyncio.sleep(0.3)
    assert written < 2000
    call.cancel()
