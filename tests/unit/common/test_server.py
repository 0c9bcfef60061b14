"""A service process seen from outside: statuses, metadata, metrics, health, drain."""

import asyncio
import contextlib
import json
import logging
import math
import subprocess
import sys
import time

import grpc
import grpc.aio
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pequod.common.v1 import Usage
from pequod.sampler.v1 import (
    GenerateRequest,
    GenerateResponse,
    GenerateStreamRequest,
    GenerateStreamResponse,
    SamplerServiceServicer,
    SamplerServiceStub,
    add_SamplerServiceServicer_to_server,
)
from services.common import log
from services.common.errors import Code, Reason, ServiceError, invalid, overloaded
from services.common.metrics import Metrics
from services.common.rpc import status
from services.common.rpc.interceptors import CallInterceptor
from services.common.rpc.process import NOT_NOW
from services.common.rpc.server import ServerSettings, check_bind, serve
from services.common.rpc.side_port import listen
from services.common.rpc.tls import TlsSettings
from services.common.rpc.usage import accepted, deadline_of, report
from services.common.settings import SettingsError
from tests.unit.common.certificates import Authority

NAME = "pequod.sampler.v1.SamplerService"


class Scripted(SamplerServiceServicer):
    """Does what the prompt says."""

    def __init__(self):
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()

    async def Generate(self, request, context):
        if request.prompt == "invalid":
            raise invalid("sampling.temperature", "must be at least 0, got -1")
        if request.prompt == "bug":
            raise ZeroDivisionError("secret detail")
        if request.prompt == "abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        if request.prompt == "wait":
            assert deadline_of(context) is None or math.isfinite(deadline_of(context))
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        await accepted(context)
        report(context, Usage(model="m", output_tokens=3))
        return GenerateResponse(seed=1)

    async def GenerateStream(self, request, context):
        await accepted(context)
        yield GenerateStreamResponse(text="a")
        if request.prompt == "overloaded":
            raise overloaded("queue full", 0.25)
        if request.prompt == "forever":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        yield GenerateStreamResponse(text="b")


@pytest.fixture
async def running():
    """A server with the interceptor, its stub and its metrics."""
    metrics = Metrics("sampler")
    servicer = Scripted()
    server = grpc.aio.server(interceptors=[CallInterceptor(metrics)])
    add_SamplerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = SamplerServiceStub(channel)
        stub.channel_of_test = channel
        yield stub, servicer, metrics
    await server.stop(None)


def counted(metrics, method, code):
    return metrics.registry.get_sample_value(
        "pequod_requests_total", {"service": "sampler", "method": f"/{NAME}/{method}", "code": code}
    )


async def until_counted(metrics, method, code):
    """The server counts a call after its caller has the status."""
    async with asyncio.timeout(20):
        while counted(metrics, method, code) != 1:
            await asyncio.sleep(0.01)


def detail(error, kind):
    rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[status.DETAILS_KEY])
    message = kind()
    assert any(packed.Unpack(message) for packed in rich.details)
    return message


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_success_carries_acceptance_request_id_and_usage(running):
    stub, _, metrics = running
    call = stub.Generate(GenerateRequest(), metadata=(("x-request-id", "abc-1"),))
    await call
    assert dict(await call.initial_metadata())["x-accepted"] == "1"
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-request-id"] == "abc-1"
    assert Usage.FromString(trailing["pequod-usage-bin"]).output_tokens == 3
    await until_counted(metrics, "Generate", "OK")


async def test_a_malformed_request_id_is_replaced(running):
    stub, _, _ = running
    call = stub.Generate(GenerateRequest(), metadata=(("x-request-id", "a b"),))
    await call
    assert len(dict(await call.trailing_metadata())["x-request-id"]) == 32


async def test_a_bad_field_is_named(running):
    stub, _, metrics = running
    error = await failure(stub.Generate(GenerateRequest(prompt="invalid")))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.ErrorInfo).reason == "INVALID_FIELD"
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == "sampling.temperature"
    await until_counted(metrics, "Generate", "INVALID_ARGUMENT")


async def test_a_bug_shows_only_an_id_and_logs_the_trace(running, caplog):
    stub, _, metrics = running
    with caplog.at_level(logging.ERROR):
        error = await failure(
            stub.Generate(GenerateRequest(prompt="bug"), metadata=(("x-request-id", "q7"),))
        )
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert "q7" in error.details()
    assert "ZeroDivisionError" in caplog.text
    await until_counted(metrics, "Generate", "INTERNAL")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"\x12\x02\xff\xfe", "prompt"),
        (b"\x32\x06\x08\x05\x1a\x02\xc3\x28", "stopping.stop"),
        (b"\x12\x7f", "request"),
    ],
)
async def test_bytes_that_are_no_message_are_the_callers_mistake(running, data, field):
    stub, _, metrics = running
    raw = stub.channel_of_test.unary_unary(f"/{NAME}/Generate")
    error = await failure(raw(data))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == field
    await until_counted(metrics, "Generate", "INVALID_ARGUMENT")


async def test_a_deliberate_abort_keeps_its_code(running):
    stub, _, metrics = running
    assert (await failure(stub.Generate(GenerateRequest(prompt="abort")))).code() == grpc.StatusCode.NOT_FOUND
    await until_counted(metrics, "Generate", "NOT_FOUND")


async def test_an_error_after_the_first_message_keeps_its_details(running):
    stub, _, _ = running
    call = stub.GenerateStream(GenerateStreamRequest(prompt="overloaded"))
    assert (await call.read()).text == "a"
    error = await failure(call.read())
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 250


async def test_a_cancel_is_counted_as_cancelled_and_reaches_the_handler(running):
    stub, servicer, metrics = running
    call = stub.GenerateStream(GenerateStreamRequest(prompt="forever"))
    await call.read()
    call.cancel()
    await asyncio.wait_for(servicer.cancelled.wait(), 5)
    await until_counted(metrics, "GenerateStream", "CANCELLED")


async def test_a_passed_deadline_is_counted_as_such(running):
    stub, servicer, metrics = running
    error = await failure(stub.Generate(GenerateRequest(prompt="wait"), timeout=0.05))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(servicer.cancelled.wait(), 5)
    await until_counted(metrics, "Generate", "DEADLINE_EXCEEDED")


def test_status_survives_the_round_trip():
    error = ServiceError(
        Code.NOT_FOUND,
        Reason.MODEL_NOT_FOUND,
        "no model",
        violations=invalid("model", "unknown").violations,
        retry_after=1.5,
        resource=("model", "moby"),
        metadata={"close": "moby-ngram"},
    )
    back = status.from_status(status.to_status(error, "id"))
    assert vars(back) == vars(error)


class Empty:
    """A service with the scripted servicer and a start that waits."""

    def __init__(self):
        self.servicer = Scripted()
        self.started = asyncio.Event()
        self.closed = False

    def register(self, server):
        add_SamplerServiceServicer_to_server(self.servicer, server)
        return (NAME,)

    async def start(self):
        await self.started.wait()

    async def close(self):
        self.closed = True


def free_port():
    with contextlib.closing(listen("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


async def health_of(port, name=""):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=name), wait_for_ready=True, timeout=5
        )
    return reply.status


async def test_life_not_serving_then_serving_then_drained(monkeypatch):
    stop = asyncio.Event()
    monkeypatch.setattr("services.common.rpc.server.stop_event", lambda: stop)
    service = Empty()
    settings = ServerSettings(port=free_port(), side_port=free_port(), grace_seconds=5)
    task = asyncio.create_task(serve(service, settings, Metrics("sampler")))
    base = f"http://127.0.0.1:{settings.side_port}"
    async with httpx.AsyncClient() as http:
        assert await health_of(settings.port) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await http.get(f"{base}/livez")).status_code == 200
        assert (await http.get(f"{base}/readyz")).status_code == 503
        service.started.set()
        async with asyncio.timeout(5):
            while (await http.get(f"{base}/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
        assert await health_of(settings.port, NAME) == health_pb2.HealthCheckResponse.SERVING
        assert "pequod_requests_total" in (await http.get(f"{base}/metrics")).text
    async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.port}") as channel:
        running_call = SamplerServiceStub(channel).Generate(GenerateRequest(prompt="wait"))
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.sleep(0.1)
        service.servicer.release.set()
        assert (await running_call).seed == 1, "a call in flight finishes during the drain"
    await asyncio.wait_for(task, 10)
    assert service.closed


async def test_a_process_with_tls_says_on_its_side_port_when_the_certificate_ends(monkeypatch, tmp_path):
    stop = asyncio.Event()
    monkeypatch.setattr("services.common.rpc.server.stop_event", lambda: stop)
    service = Empty()
    service.started.set()
    tls = TlsSettings(*Authority().issue().write(tmp_path, "server"))
    settings = ServerSettings(port=free_port(), side_port=free_port(), tls=tls)
    task = asyncio.create_task(serve(service, settings, Metrics("sampler")))
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=5)) as http:
        text = (await http.get(f"http://127.0.0.1:{settings.side_port}/metrics")).text
    (line,) = [each for each in text.splitlines() if each.startswith("pequod_certificate_expires")]
    name, value = line.split()
    assert name.endswith('{certificate="PEQUOD_SERVICES_TLS_CERT"}')
    assert time.time() < float(value) < time.time() + 86400
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_a_health_watcher_does_not_hold_up_the_end(monkeypatch):
    stop = asyncio.Event()
    monkeypatch.setattr("services.common.rpc.server.stop_event", lambda: stop)
    service = Empty()
    service.started.set()
    settings = ServerSettings(port=free_port(), side_port=free_port(), grace_seconds=3600)
    task = asyncio.create_task(serve(service, settings, Metrics("sampler")))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        stop.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.wait_for(task, 20)


async def test_health_can_be_watched_through_the_interceptor(running_health):
    watch = health_pb2_grpc.HealthStub(running_health).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.fixture
async def running_health():
    """A channel to a server whose only servicer is grpc's own health, which writes to the context."""
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics("sampler"))])
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def test_a_taken_port_refuses_to_start():
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        taken.listen()
        settings = ServerSettings(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="cannot listen"):
            await serve(Empty(), settings, Metrics("sampler"))


def test_a_public_address_is_refused_with_a_sentence():
    with pytest.raises(SettingsError, match="PEQUOD_INSECURE=1"):
        check_bind("0.0.0.0", insecure=False)
    check_bind("0.0.0.0", insecure=True)
    check_bind("::1", insecure=False)
    check_bind("localhost", insecure=False)


def test_logs_are_json_with_the_request_id():
    token = log.request_id.set("r1")
    try:
        record = logging.makeLogRecord({"msg": "hello %s", "args": ("you",), "model": "m"})
        line = json.loads(log.JsonFormatter("sampler").format(record))
    finally:
        log.request_id.reset(token)
    assert line["message"] == "hello you"
    assert line["request_id"] == "r1"
    assert line["model"] == "m"
    assert line["service"] == "sampler"


def test_a_process_whose_database_is_away_ends_with_a_sentence_and_may_be_started_again():
    program = """
import sys
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.process import run

async def main():
    raise ServiceError(Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE, "it is away")

sys.exit(run("gateway", main))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == NOT_NOW
    assert done.stderr.splitlines()[-1] == "gateway: it is away"
    assert "Traceback" not in done.stderr
