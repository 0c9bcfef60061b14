"""Streams of the client: left, cancelled, written and read."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from pequod.tokenizer.v1 import (
    EmbedStreamRequest,
)
from pequod_client import PequodError


async def test_stream_gives_the_pieces(face):
    assert await face.pieces("x") == ["x", "a", "b"]


def test_leaving_the_block_ends_the_generation(client, server):
    with client.stream_text("wait") as pieces:
        assert next(pieces) == "wait"
    assert server.left.wait(10)


def test_leaving_the_loop_ends_the_generation(client, server):
    for piece in client.stream_text("wait"):
        assert piece == "wait"
        break
    assert server.left.wait(10)


async def test_leaving_the_async_block_ends_the_generation(aio, server):
    async with aio.stream_text("wait") as pieces:
        assert await anext(pieces) == "wait"
    assert await asyncio.to_thread(server.left.wait, 10)


def test_last_reply_stays(client):
    with client.stream_text("x") as pieces:
        assert "".join(pieces) == "xab"
    assert pieces.last.seed == 7


def test_reader_of_a_cancelled_stream_gets_an_error(client):
    pieces = client.stream_text("wait")
    next(pieces)
    pieces.cancel()
    with pytest.raises(PequodError) as caught:
        next(pieces)
    assert caught.value.code is grpc.StatusCode.CANCELLED


async def test_reader_of_a_cancelled_async_stream_gets_an_error(aio):
    pieces = aio.stream_text("wait")
    assert await anext(pieces) == "wait"
    pieces.cancel()
    with pytest.raises(PequodError) as caught:
        await anext(pieces)
    assert caught.value.code is grpc.StatusCode.CANCELLED


async def test_cancelling_the_task_stays_a_cancellation(aio, server):
    task = asyncio.create_task(aio.text("wait"))
    while not server.seen:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_requests_and_replies_stream_at_once(client):
    requests = [EmbedStreamRequest(inputs=[{"text": "x"}] * n) for n in (1, 2)]
    replies = client.embeddings.EmbedStream(iter(requests))
    assert [len(reply.embeddings) for reply in replies] == [1, 2, 0], "the last one brings the usage"
    assert replies.code() is grpc.StatusCode.OK


async def test_requests_are_written_and_replies_read(aio):
    call = aio.embeddings.EmbedStream()
    await call.write(EmbedStreamRequest(inputs=[{"text": "x"}]))
    assert (await call.read()).dimensions == 1
    await call.done_writing()
    assert (await call.read()).usage.input_tokens == 1
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
