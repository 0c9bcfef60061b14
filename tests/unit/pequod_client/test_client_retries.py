"""When the client tries again, and when it must not."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest
from fake_gateway import UNAVAILABLE, refusal

from pequod.finetune.v1 import (
    UploadDatasetRequest,
)
from pequod.sampler.v1 import (
    GenerateRequest,
    GenerateStreamRequest,
)
from pequod_client import PequodError


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_refused_call_is_tried_again_when_the_server_says_so(face, server, code):
    server.refusals.extend([refusal(code, retry_after=0.01)] * 2)
    assert await face.text("x") == "xab"
    assert len({call.metadata["x-request-id"] for call in server.seen}) == 1
    assert len(server.seen) == 3


async def test_tries_are_bounded(face, server):
    server.refusals.extend([refusal(retry_after=0.01)] * 9)
    with pytest.raises(PequodError) as caught:
        await face.text("x")
    assert (caught.value.code, caught.value.reason) == (UNAVAILABLE, "OVERLOADED")
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "status",
    [refusal(), refusal(grpc.StatusCode.ABORTED, retry_after=0.01)],
    ids=["without RetryInfo", "another code"],
)
async def test_other_failures_are_not_tried_again(face, server, status):
    server.refusals.append(status)
    with pytest.raises(PequodError):
        await face.text("x")
    assert len(server.seen) == 1


async def test_no_try_beyond_the_deadline(face, server):
    server.refusals.append(refusal(retry_after=30))
    with pytest.raises(PequodError) as caught:
        await face.text("x", timeout=20)
    assert (caught.value.code, caught.value.retry_after) == (UNAVAILABLE, 30)
    assert len(server.seen) == 1


async def test_every_call_has_a_deadline(face, server):
    await face.text("x")
    await face.pieces("x")
    await face.text("x", timeout=200)
    told = [call.remaining for call in server.seen]
    assert told == [pytest.approx(seconds, rel=0.4) for seconds in (60, 600, 200)]


async def test_deadline_passes(face, server):
    with pytest.raises(PequodError) as caught:
        await face.text("wait", timeout=0.2)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.request_id == server.seen[0].metadata["x-request-id"]


async def test_refused_stream_is_tried_again(face, server):
    server.refusals.append(refusal(retry_after=0.01))
    assert await face.pieces("x") == ["x", "a", "b"]
    assert len(server.seen) == 2


async def test_begun_stream_is_not_tried_again(face, server):
    server.refuse_after_first = refusal(retry_after=0.01)
    with pytest.raises(PequodError) as caught:
        await face.pieces("x")
    assert caught.value.retry_after == 0.01
    assert len(server.seen) == 1


async def test_upload_is_sent_once(face, server):
    server.refusals.append(refusal(retry_after=0.01))
    parts = [UploadDatasetRequest(chunk=b"12"), UploadDatasetRequest(chunk=b"345")]
    with pytest.raises(PequodError):
        await face.upload(parts)
    assert len(server.seen) == 1
    assert (await face.upload(parts)).dataset.size_bytes == 5


def test_cancel_ends_the_wait_for_the_next_try(client, server):
    server.refusals.append(refusal(retry_after=60))
    replies = client.sampler.GenerateStream(GenerateStreamRequest())
    threading.Timer(0.2, replies.cancel).start()
    with pytest.raises(PequodError) as caught:
        next(replies)
    assert caught.value.reason == "OVERLOADED"


async def test_cancel_ends_the_async_wait_for_the_next_try(aio, server):
    server.refusals.append(refusal(retry_after=60))
    replies = aio.sampler.GenerateStream(GenerateStreamRequest())
    asyncio.get_running_loop().call_later(0.2, replies.cancel)
    with pytest.raises(PequodError) as caught:
        await anext(aiter(replies))
    assert caught.value.reason == "OVERLOADED"


def test_future_has_a_deadline_and_grpc_errors(client, server):
    assert client.sampler.Generate.future(GenerateRequest(prompt="x")).result().completions
    # A minute, and what the clocks of two processes round up; without a deadline it would be None.
    assert server.seen[0].remaining <= 61
    server.refusals.append(refusal(retry_after=0.01))
    with pytest.raises(grpc.RpcError):
        client.sampler.Generate.future(GenerateRequest()).result()
