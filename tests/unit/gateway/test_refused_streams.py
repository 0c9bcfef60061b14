"""A backend's refusal of a stream of requests crosses the gateway whole, whatever fails beside it."""

from __future__ import annotations

import asyncio

import grpc
from fakes import EMBED_STREAM, FakeBackend, backends, gateway


async def refuse(requests, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such model", (("cause", "kept"),))


def refusals(target, count):
    """What a blocking caller is told; grpc.aio's own would lose some of it."""
    with grpc.insecure_channel(target) as channel:
        call = channel.stream_stream(EMBED_STREAM)
        for _ in range(count):
            try:
                list(call(iter([b"one", b"two"])))
            except grpc.RpcError as error:
                yield error.code(), error.details(), dict(error.trailing_metadata()).get("cause")


async def test_a_refusal_that_meets_a_write_keeps_its_status():
    async with (
        backends(FakeBackend().on(EMBED_STREAM, refuse)) as (backend,),
        gateway(tokenizer=[backend]) as door,
    ):
        told = await asyncio.to_thread(lambda: list(refusals(door.target, 200)))
    assert told == [(grpc.StatusCode.NOT_FOUND, "no such model", "kept")] * 200
