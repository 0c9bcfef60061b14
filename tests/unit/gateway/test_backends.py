"""Several backends: who gets a call, when it is tried again, and what a dying one costs."""

import asyncio
import contextlib
import os
import signal
import sys

import grpc
import pytest
from google.rpc import error_details_pb2

from services.common.errors import Code, Reason, ServiceError, loading, overloaded
from services.common.rpc import status
from services.common.rpc.interceptors import internal_error
from services.common.rpc.usage import accepted
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

DRAINING = ServiceError(Code.UNAVAILABLE, Reason.DRAINING, "going away")


def failing(error, accept=False, first=0):
    """Behaviour: fail with ``error``, after accepting if so told, after ``first`` replies."""

    async def behaviour(request, context):
        if accept:
            await accepted(context)
        for _ in range(first):
            await context.write(b"early")
        rich = status.to_status(error)
        await context.abort(status.grpc_code(rich.code), rich.message, status.trailing(rich))

    return behaviour


async def naming(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def one_message():
    yield b"x"


@contextlib.asynccontextmanager
async def pair(bad):
    """Two backends of the sampler, the first behaving as told on both methods; and the gateway."""
    first = FakeBackend(**{GENERATE: bad, GENERATE_STREAM: bad})
    async with backends(first, FakeBackend()) as (one, two), gateway(sampler=[one, two]) as door:
        yield door, one, two


async def until_hit(door, backend, path=GENERATE):
    """Call until ``backend`` was asked once; the call's result, or its error."""
    while True:
        call = door.stub(path)(b"x")
        try:
            result = await (call if path == GENERATE else replies(call))
        except grpc.aio.AioRpcError as error:
            result = error
        if backend.calls(path):
            return result


@pytest.mark.parametrize("error", [overloaded("full", 1.0), loading("m", 1.0), DRAINING])
@pytest.mark.parametrize(("path", "expected"), [(GENERATE, b"x"), (GENERATE_STREAM, [b"x"] * 3)])
async def test_a_call_that_did_not_start_goes_to_another_backend_once(error, path, expected):
    async with pair(failing(error)) as (door, bad, good):
        for _ in range(4):
            call = door.stub(path)(b"x")
            assert await (call if path == GENERATE else replies(call)) == expected
        assert bad.calls(path) >= 1
        assert good.calls(path) == 4
        assert door.sample("pequod_retries_total", service="sampler", outcome="ok") == bad.calls(path)


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM])
async def test_an_accepted_call_is_never_tried_again(path):
    async with pair(failing(overloaded("late", 1.0), accept=True)) as (door, bad, good):
        error = await until_hit(door, bad, path)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == Reason.OVERLOADED
        before = good.calls(path)
        assert bad.calls(path) == 1
        assert good.calls(path) == before
        assert door.sample("pequod_retries_total", service="sampler", outcome="ok") == 0


async def test_a_begun_stream_is_never_tried_again():
    async with pair(failing(DRAINING, first=1)) as (door, bad, _):
        error = await until_hit(door, bad, GENERATE_STREAM)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert door.sample("pequod_retries_total", service="sampler", outcome="ok") == 0


@pytest.mark.parametrize(
    "code", [Code.INTERNAL, Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.ABORTED]
)
async def test_only_unavailable_is_tried_again(code):
    async with pair(failing(ServiceError(code, Reason.INTERNAL, "no"))) as (door, bad, _):
        error = await until_hit(door, bad)
        assert error.code().name == code.name
        assert door.sample("pequod_retries_total", service="sampler", outcome="ok") == 0


@pytest.mark.parametrize(("service", "path"), [("finetune", UPLOAD), ("tokenizer", EMBED_STREAM)])
async def test_a_stream_of_requests_is_never_tried_again(service, path):
    async with (
        backends(FakeBackend(**{path: failing(DRAINING)}), FakeBackend(**{path: failing(DRAINING)})) as pair,
        gateway(**{service: pair}) as door,
    ):
        call = door.stub(path)(one_message())
        error = await naming(call if path == UPLOAD else replies(call))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert sum(fake.calls(path) for fake in pair) == 1


async def test_it_is_tried_again_only_once():
    bad = failing(DRAINING)
    fakes = [FakeBackend(**{GENERATE: bad}) for _ in range(3)]
    async with backends(*fakes), gateway(sampler=fakes) as door:
        error = await naming(door.stub(GENERATE)(b""))
        assert reason(error) == Reason.DRAINING
        assert sum(fake.calls() for fake in fakes) == 2
        assert door.sample("pequod_retries_total", service="sampler", outcome="failed") == 1


async def test_without_another_backend_nothing_is_tried_again():
    async with (
        backends(FakeBackend(**{GENERATE: failing(DRAINING)})) as (only,),
        gateway(sampler=[only]) as door,
    ):
        await naming(door.stub(GENERATE)(b""))
        assert only.calls() == 1


async def test_retries_stay_within_their_budget():
    fakes = [FakeBackend(**{GENERATE: failing(overloaded("full", 1.0))}) for _ in range(2)]
    async with backends(*fakes), gateway(sampler=fakes) as door:
        for _ in range(60):
            await naming(door.stub(GENERATE)(b""))
        retried = sum(fake.calls() for fake in fakes) - 60
        assert retried <= 10 + 60 * 0.1
        assert door.sample("pequod_retries_total", service="sampler", outcome="failed") == retried
        assert door.sample("pequod_retries_total", service="sampler", outcome="over_budget") == 60 - retried


async def test_calls_go_where_the_fewest_are():
    release = asyncio.Event()

    async def hold(request, context):
        await release.wait()
        return b"slow"

    async with pair(hold) as (door, slow, _):
        held = []
        while not slow.calls():
            held.append(asyncio.ensure_future(door.stub(GENERATE)(b"x")))
            while not (slow.calls() or held[-1].done()):
                await asyncio.sleep(0.01)
        before = slow.calls()
        for _ in range(10):
            assert await door.stub(GENERATE)(b"q") == b"q"
        assert slow.calls() == before
        release.set()
        await asyncio.gather(*held)


async def test_equal_backends_take_turns():
    fakes = [FakeBackend() for _ in range(3)]
    async with backends(*fakes), gateway(sampler=fakes) as door:
        for _ in range(9):
            await door.stub(GENERATE)(b"")
        assert [fake.calls() for fake in fakes] == [3, 3, 3]


async def test_a_failing_backend_is_ejected_and_comes_back_by_a_probe(monkeypatch):
    monkeypatch.setattr("gateway.upstream.outlier.BASE_SECONDS", 0.5)
    async with pair(failing(internal_error("x"))) as (door, bad, _):
        failures = 0
        while not door.sample("pequod_backend_ejections_total", service="sampler", backend=bad.address):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await door.stub(GENERATE)(b"")
            failures += 1
            assert failures < 20
        assert bad.calls() == 5
        states = (await door.readyz())["services"]["sampler"]["backends"]
        assert [state["ejected"] for state in states] == [True, False]
        bad.on(GENERATE, None)
        while bad.calls() == 5:
            assert await door.stub(GENERATE)(b"q") == b"q"
            await asyncio.sleep(0.02)
        states = (await door.readyz())["services"]["sampler"]["backends"]
        assert [state["ejected"] for state in states] == [False, False]


@pytest.mark.parametrize("error", [overloaded("full", 1.0), loading("m", 1.0)])
async def test_a_busy_backend_is_not_ejected(error):
    async with pair(failing(error, accept=True)) as (door, bad, _):
        for _ in range(30):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await door.stub(GENERATE)(b"")
        assert bad.calls() > 10
        assert door.sample("pequod_backend_ejections_total", service="sampler", backend=bad.address) == 0


async def test_the_last_backend_is_never_ejected():
    async with (
        backends(FakeBackend(**{GENERATE: failing(internal_error("x"))})) as (only,),
        gateway(sampler=[only]) as door,
    ):
        for _ in range(12):
            assert (await naming(door.stub(GENERATE)(b""))).code() is grpc.StatusCode.INTERNAL
        assert only.calls() == 12


async def test_a_backend_that_says_not_serving_gets_no_calls():
    async with backends(FakeBackend(), FakeBackend()) as (one, two), gateway(sampler=[one, two]) as door:
        await one.serving(False)
        await door.until(False, True)
        for _ in range(6):
            await door.stub(GENERATE)(b"")
        assert (one.calls(), two.calls()) == (0, 6)
        await one.serving(True)
        await door.until(True, True)
        for _ in range(6):
            await door.stub(GENERATE)(b"")
        assert one.calls() == 3


async def test_a_service_that_is_down_is_refused_at_once_and_recovers():
    async with (
        backends(FakeBackend(), FakeBackend()) as (sampler, tokenizer),
        gateway(sampler=[sampler], tokenizer=[tokenizer]) as door,
    ):
        port = sampler.port
        await sampler.stop()
        await door.until(False, True)
        error = await naming(door.stub(GENERATE)(b"", timeout=30))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == Reason.BACKEND_DOWN
        assert "sampler" in error.details()
        assert "127.0.0.1" not in error.details()
        retry = error_details_pb2.RetryInfo()
        assert any(d.Unpack(retry) for d in details(error).details)
        assert await replies(door.stub(EMBED_STREAM)(one_message())) == [b"x"]
        await sampler.start(port)
        await door.until(True, True)
        assert await door.stub(GENERATE)(b"back") == b"back"


BACKEND_PROCESS = """
import asyncio
from tests.unit.gateway.fakes import FakeBackend, GENERATE
from services.common.rpc.usage import accepted
async def work(request, context):
    await accepted(context)
    await asyncio.sleep(0 if request == b"quick" else 600)
    return request
async def main():
    fake = await FakeBackend(**{GENERATE: work}).start(PORT)
    print(fake.port, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def backend_process(port=0):
    """A backend in a process of its own; yields (process, port)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BACKEND_PROCESS.replace("PORT", str(port)), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()


async def test_kill_dash_nine_of_a_backend_costs_its_own_calls_only():
    async with (
        backends(FakeBackend()) as (tokenizer,),
        backend_process() as (process, port),
        gateway(sampler=[f"127.0.0.1:{port}"], tokenizer=[tokenizer]) as door,
    ):
        stub = door.stub(GENERATE)
        assert await stub(b"quick") == b"quick"
        cut = asyncio.ensure_future(naming(stub(b"slow", timeout=60)))
        while door.sample("pequod_inflight", service="sampler") < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # the backend accepts it meanwhile
        os.kill(process.pid, signal.SIGKILL)
        error = await asyncio.wait_for(cut, 20)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == Reason.BACKEND_DOWN
        error = await asyncio.wait_for(naming(stub(b"quick", timeout=60)), 20)
        assert reason(error) == Reason.BACKEND_DOWN
        assert await replies(door.stub(EMBED_STREAM)(one_message())) == [b"x"]
        async with backend_process(port):
            await asyncio.wait_for(door.until(True, True), 30)
            assert await stub(b"quick") == b"quick"
