"""Through a real gateway: who reads or sends a stream too slowly for its own deadline costs no places."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import grpc
import httpx
import pytest

from pequod.sampler import v1
from tests.unit.gateway.fakes import GENERATE_STREAM, UPLOAD, FakeBackend, backends, gateway
from tests.unit.gateway.openai_parts import COMPLETIONS

CALLS, SECONDS = 3, 2.5
PIECE, PIECES = b"x" * 2**17, 200
TIME = {"x-timeout-seconds": str(SECONDS)}
FIRST_PLACES = 64


async def flood(request, context):
    """More than all buffers on the way hold."""
    for _ in range(PIECES):
        await context.write(PIECE)


async def idle(request, context):
    """As a service with too much to do."""
    await context.write(b"a beginning")
    await asyncio.sleep(30)


async def flood_of_text(request, context):
    """The same as text."""
    reply = v1.GenerateStreamResponse(text=PIECE.decode()).SerializeToString()
    for _ in range(PIECES):
        await context.write(reply)


async def read_once(door, read=1):
    """The gRPC call of one who reads ``read`` messages and no more, until the deadline."""
    call = door.stub(GENERATE_STREAM)(b"", timeout=SECONDS)
    with contextlib.suppress(grpc.aio.AioRpcError):
        for _ in range(read):
            await call.read()
        await asyncio.sleep(1.2 * SECONDS)
        call.cancel()


@contextlib.asynccontextmanager
async def streamed(door, path, body):
    """A reply over HTTP whose reader has little room for what it does not read."""
    room = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)]
    async with (
        httpx.AsyncClient(
            base_url=door.base, timeout=30, transport=httpx.AsyncHTTPTransport(socket_options=room)
        ) as client,
        client.stream("POST", path, json=body, headers=TIME) as reply,
    ):
        assert reply.status_code == 200
        chunks = reply.aiter_raw()  # kept: without it the connection would be closed
        await anext(chunks)
        yield


async def events_begun(door):
    """The same of server-sent events; it leaves once its time is over."""
    body = {"model": "m", "prompt": "p", "stream": True}
    async with streamed(door, COMPLETIONS, body):
        await asyncio.sleep(1.2 * SECONDS)


async def lines_begun(door):
    """The same of lines of JSON."""
    async with streamed(door, GENERATE_STREAM, {}):
        await asyncio.sleep(1.2 * SECONDS)


async def upload_begun(door):
    """A stream of requests whose second one never comes."""

    async def requests():
        yield b"first"
        await asyncio.sleep(30)

    call = door.stub(UPLOAD)(requests(), timeout=SECONDS)
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def until_idle(door, service):
    """Wait until no call has a place any more."""
    async with asyncio.timeout(30):
        while door.sample("pequod_inflight", service=service):
            await asyncio.sleep(0.01)


async def places_after(door, service, *calls):
    """How many places there are once all of ``calls`` have ended."""
    await asyncio.gather(*calls)
    await until_idle(door, service)
    return door.sample("pequod_places", service=service)


@pytest.mark.parametrize(
    ("behaviour", "call"),
    [(flood, read_once), (flood_of_text, events_begun), (flood_of_text, lines_begun)],
    ids=["grpc", "events", "lines"],
)
async def test_slow_readers_leave_the_places_where_they_were(behaviour, call):
    async with (
        backends(FakeBackend().on(GENERATE_STREAM, behaviour)) as (backend,),
        gateway(sampler=[backend]) as door,
    ):
        assert await places_after(door, "sampler", *(call(door) for _ in range(CALLS))) == FIRST_PLACES
        assert backend.calls(GENERATE_STREAM) == CALLS


@pytest.mark.parametrize(
    ("path", "body"),
    [(COMPLETIONS, {"model": "m", "prompt": "p", "stream": True}), (GENERATE_STREAM, {})],
    ids=["events", "lines"],
)
async def test_who_stands_still_keeps_no_place_beyond_its_deadline(path, body):
    async with (
        backends(FakeBackend().on(GENERATE_STREAM, flood_of_text)) as (backend,),
        gateway(sampler=[backend]) as door,
        streamed(door, path, body),
    ):
        assert door.sample("pequod_inflight", service="sampler") == 1
        await until_idle(door, "sampler")  # with the connection still open
        late = {"method": GENERATE_STREAM, "code": "DEADLINE_EXCEEDED"}
        assert door.sample("pequod_requests_total", service="gateway", **late) == 1


async def test_slow_senders_leave_the_places_where_they_were():
    async with backends(FakeBackend()) as (backend,), gateway(finetune=[backend]) as door:
        assert (
            await places_after(door, "finetune", *(upload_begun(door) for _ in range(CALLS))) == FIRST_PLACES
        )
        assert backend.calls(UPLOAD) == CALLS


async def test_a_service_that_is_late_itself_loses_places():
    async with (
        backends(FakeBackend().on(GENERATE_STREAM, idle)) as (backend,),
        gateway(sampler=[backend]) as door,
    ):
        # They read on, so they wait for the service.
        calls = [read_once(door, read=2) for _ in range(CALLS)]
        assert await places_after(door, "sampler", *calls) < FIRST_PLACES
