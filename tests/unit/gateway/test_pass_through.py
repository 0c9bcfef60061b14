"""Calls through the gateway: every kind of method, and all that travels beside the messages."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2

from gateway.settings import Policy
from services.common.errors import Reason, invalid
from services.common.rpc import status
from tests.unit.gateway.fakes import (
    EMBED_STREAM,
    GENERATE,
    GENERATE_STREAM,
    UPLOAD,
    FakeBackend,
    backends,
    details,
    gateway,
    reason,
    replies,
)

BYTES = b"\x12\x05hello"


@pytest.fixture
async def backend():
    async with backends(FakeBackend()) as (fake,):
        yield fake


async def each(*messages):
    for message in messages:
        yield message


async def taken(call, into):
    async for message in call:
        into.append(message)


async def test_unary_bytes_pass_unchanged(door):
    # Not even valid protobuf: nobody on the way looks.
    assert await door.stub(GENERATE)(b"\xff\xfe raw") == b"\xff\xfe raw"


async def test_a_stream_of_replies_keeps_its_order(door, backend):
    async def count(request, context):
        for i in range(200):
            await context.write(b"%d" % i)

    backend.on(GENERATE_STREAM, count)
    assert [m async for m in door.stub(GENERATE_STREAM)(b"")] == [b"%d" % i for i in range(200)]


async def test_a_stream_of_requests_arrives_whole(door):
    assert await door.stub(UPLOAD)(each(b"a", b"b", b"c")) == b"abc"


async def test_both_ways_messages_alternate(door):
    call = door.stub(EMBED_STREAM)()
    for word in (b"one", b"two", b"three"):
        await call.write(word)
        assert await call.read() == word
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("path", [GENERATE_STREAM, UPLOAD, EMBED_STREAM])
async def test_an_empty_stream_is_a_stream(door, backend, path):
    async def nothing(request, context):
        return b"" if path == UPLOAD else None

    backend.on(path, nothing)
    call = door.stub(path)(b"" if path == GENERATE_STREAM else each())
    if path == UPLOAD:
        assert await call == b""
    else:
        assert [m async for m in call] == []
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM])
async def test_metadata_crosses_in_both_directions(door, backend, path):
    async def answer(request, context):
        await context.send_initial_metadata(
            (("x-accepted", "1"), ("x-first", "a"), ("x-bytes-bin", b"\x00\xff"))
        )
        context.set_trailing_metadata((("x-last", "z"), ("pequod-usage-bin", b"\x08\x01")))
        if path == GENERATE:
            return b""
        await context.write(b"")

    backend.on(path, answer)
    sent = (
        ("x-mine", "1"),
        ("x-mine-bin", b"\x01"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-pequod-caller", "forged/x"),
        ("x-accepted", "1"),
        ("pequod-usage-bin", b"forged"),
    )
    call = door.stub(path)(b"", metadata=sent)
    if path == GENERATE:
        await call
    else:
        assert [m async for m in call] == [b""]
    arrived = backend.seen[-1][1]
    assert arrived["x-mine"] == "1"
    assert arrived["x-mine-bin"] == b"\x01"
    assert arrived["traceparent"] == sent[2][1]
    assert not {"x-pequod-caller", "x-accepted", "pequod-usage-bin"} & set(arrived)
    initial, trailing = dict(await call.initial_metadata()), dict(await call.trailing_metadata())
    assert initial["x-first"] == "a"
    assert initial["x-bytes-bin"] == b"\x00\xff"
    assert "x-accepted" not in initial
    assert trailing["x-last"] == "z"
    assert trailing["pequod-usage-bin"] == b"\x08\x01"


async def test_a_valid_request_id_is_kept_and_an_invalid_one_replaced(door, backend):
    call = door.stub(GENERATE)(b"", metadata=(("x-request-id", "my.id_1-A"),))
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "my.id_1-A"
    assert backend.seen[-1][1]["x-request-id"] == "my.id_1-A"
    for forged in ("a" * 129, "with space", "new{line}"):
        call = door.stub(GENERATE)(b"", metadata=(("x-request-id", forged),))
        await call
        made = dict(await call.trailing_metadata())["x-request-id"]
        assert made != forged
        assert len(made) == 32
        assert backend.seen[-1][1]["x-request-id"] == made


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM, UPLOAD, EMBED_STREAM])
async def test_status_and_details_are_intact(door, backend, path):
    rich = status.to_status(invalid("sampling.temperature", "must be at least 0, got -1"), "theirs")

    async def refuse(request, context):
        trailing = (*status.trailing(rich), ("x-extra", "kept"))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, rich.message, trailing)

    backend.on(path, refuse)
    call = door.stub(path)(each(b"x") if path in {UPLOAD, EMBED_STREAM} else b"x")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if path in {GENERATE, UPLOAD} else taken(call, []))
    error = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == rich.message
    assert details(error) == rich
    trailing = dict(error.trailing_metadata())
    assert trailing["x-extra"] == "kept"
    assert trailing["x-request-id"]


async def test_an_error_after_some_replies_comes_after_them(door, backend):
    async def half(request, context):
        await context.write(b"1")
        await context.write(b"2")
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    backend.on(GENERATE_STREAM, half)
    got = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await taken(door.stub(GENERATE_STREAM)(b""), got)
    assert got == [b"1", b"2"]
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_large_messages_pass_and_larger_ones_are_refused(door):
    large = bytes(20 * 2**20)
    assert await door.stub(GENERATE)(large) == large
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub(GENERATE)(bytes(33 * 2**20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await door.stub(GENERATE)(b"next") == b"next"


async def test_an_unknown_method_names_the_close_ones(door):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.channel.unary_unary("/pequod.sampler.v1.SamplerService/Generat")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason(caught.value) == Reason.METHOD_NOT_FOUND
    assert "Generate" in caught.value.details()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replies(door.channel.stream_stream("/none.Such/Method")(each(b"")))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_in_the_gateway_says_only_its_id(door, monkeypatch, caplog):
    async def broken(call, backend):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gateway.upstream.forward.attempt", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub(GENERATE)(b"", metadata=(("x-request-id", "find-me"),))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "find-me" in caught.value.details()
    assert "secret" not in caught.value.details()
    assert reason(caught.value) == Reason.INTERNAL
    assert "ZeroDivisionError: secret" in caplog.text
    assert "find-me" in dict(caught.value.trailing_metadata())["x-request-id"]


async def test_a_full_queue_refuses_with_an_honest_hint(backend):
    release = asyncio.Event()

    async def hold(request, context):
        await release.wait()
        return request

    backend.on(GENERATE, hold)
    async with gateway(sampler=[backend], policy=Policy(max_inflight=2, max_queue=1)) as door:
        stub = door.stub(GENERATE)
        running = [asyncio.ensure_future(stub(b"%d" % i, timeout=30)) for i in range(3)]
        while door.sample("pequod_queue_depth", service="gateway") < 1:
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(b"4", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(caught.value) == Reason.OVERLOADED
        retry = error_details_pb2.RetryInfo()
        assert any(d.Unpack(retry) for d in details(caught.value).details)
        assert retry.retry_delay.ToNanoseconds() > 0
        assert door.sample("pequod_rejected_total", service="sampler", reason="OVERLOADED") == 1
        release.set()
        assert sorted(await asyncio.gather(*running)) == [b"0", b"1", b"2"]


async def test_a_caller_that_leaves_the_queue_frees_its_place(backend):
    release = asyncio.Event()

    async def hold(request, context):
        await release.wait()
        return request

    backend.on(GENERATE, hold)
    async with gateway(sampler=[backend], policy=Policy(max_inflight=1, max_queue=1)) as door:
        stub = door.stub(GENERATE)
        first = asyncio.ensure_future(stub(b"first"))
        while door.sample("pequod_inflight", service="sampler") < 1:
            await asyncio.sleep(0.01)
        second = stub(b"second")
        while door.sample("pequod_queue_depth", service="gateway") < 1:
            await asyncio.sleep(0.01)
        second.cancel()
        while door.sample("pequod_queue_depth", service="gateway"):
            await asyncio.sleep(0.01)
        third = asyncio.ensure_future(stub(b"third"))
        release.set()
        assert await first == b"first"
        assert await third == b"third"
        assert backend.calls() == 2


async def test_calls_are_counted_by_their_codes(door, backend):
    async def refuse(request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "no")

    await door.stub(GENERATE)(b"")
    backend.on(GENERATE, refuse)
    with pytest.raises(grpc.aio.AioRpcError):
        await door.stub(GENERATE)(b"")

    def count(code):
        return door.sample("pequod_requests_total", service="gateway", method=GENERATE, code=code)

    assert (count("OK"), count("NOT_FOUND")) == (1, 1)
    assert door.sample("pequod_request_seconds_count", service="gateway", method=GENERATE) == 2


async def test_a_rejection_of_ours_is_a_service_error_of_the_catalogue(door):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub("/pequod.model.v1.ModelService/GetModel")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == Reason.INVALID_FIELD


async def test_many_calls_at_once_get_their_own_replies(door):
    stub = door.stub(GENERATE)
    replies = await asyncio.gather(*[stub(b"%d" % i) for i in range(200)])
    assert replies == [b"%d" % i for i in range(200)]
