"""What the gateway says of itself: health, readiness, reflection, metrics; and how it ends."""

import asyncio
import json
import os
import signal
import sys

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from gateway.app import running
from gateway.methods import KSERVE_SERVICE
from gateway.settings import GatewaySettings, Listeners, load
from services.common.catalogue import SERVICES
from services.common.metrics import Metrics
from services.common.settings import SettingsError
from tests.unit.gateway.fakes import (
    GENERATE,
    GENERATE_STREAM,
    SAMPLER,
    TOKENIZER,
    FakeBackend,
    backends,
    gateway,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SAMPLER_NAME = SAMPLER.grpc_services[0]
TOKENIZER_NAME = TOKENIZER.grpc_services[0]


async def check(door, name):
    stub = health_pb2_grpc.HealthStub(door.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def until(door, name, expected):
    while await check(door, name) != expected:
        await asyncio.sleep(0.01)


async def test_health_is_that_of_the_services():
    async with (
        backends(FakeBackend(), FakeBackend()) as (one, two),
        gateway(sampler=[one], tokenizer=[two]) as door,
    ):
        for name in ("", SAMPLER_NAME, TOKENIZER_NAME, "pequod.model.v1.ModelService", KSERVE_SERVICE):
            await until(door, name, SERVING)
        await two.serving(False)
        await until(door, "", NOT_SERVING)
        assert await check(door, KSERVE_SERVICE) == NOT_SERVING
        assert await check(door, TOKENIZER_NAME) == NOT_SERVING
        assert await check(door, SAMPLER_NAME) == SERVING
        assert await check(door, "pequod.model.v1.ModelService") == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(door, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_can_be_watched():
    async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
        await until(door, "", SERVING)
        watch = health_pb2_grpc.HealthStub(door.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        await backend.serving(False)
        assert (await watch.read()).status == NOT_SERVING
        await backend.serving(True)
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_readyz_lists_services_and_backends():
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(wait=False, sampler=[backend, "127.0.0.1:1"], tokenizer=["127.0.0.1:1"]) as door,
    ):
        while not (report := await door.readyz())["services"]["sampler"]["ready"]:
            await asyncio.sleep(0.01)
        assert (await door.http.get("/readyz")).status_code == 503
        assert report["ready"] is False
        assert report["services"]["tokenizer"]["ready"] is False
        listed = report["services"]["sampler"]["backends"]
        assert [(b["address"], b["healthy"]) for b in listed] == [
            (backend.address, True),
            ("127.0.0.1:1", False),
        ]
        assert (await door.http.get("/healthz")).status_code == 200


async def test_the_admin_port_has_metrics_and_probes():
    async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
        await door.stub(GENERATE)(b"")
        async with httpx.AsyncClient(base_url=door.admin) as admin:
            assert (await admin.get("/readyz")).status_code == 200
            assert (await admin.get("/livez")).status_code == 200
            text = (await admin.get("/metrics")).text
        assert f'pequod_backend_up{{backend="{backend.address}",service="sampler"}} 1.0' in text
        assert 'pequod_inflight{service="sampler"} 0.0' in text
        assert f'pequod_requests_total{{code="OK",method="{GENERATE}",service="gateway"}} 1.0' in text
        assert (await door.http.get("/metrics")).status_code == 404


async def test_the_admin_port_is_ready_while_any_service_is():
    """A service that is down must not take every gateway away from the callers of the others."""
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(wait=False, sampler=[backend], tokenizer=["127.0.0.1:1"]) as door,
        httpx.AsyncClient(base_url=door.admin) as admin,
    ):
        await door.until(True, False)
        assert (await admin.get("/readyz")).status_code == 200
        assert (await door.http.get("/readyz")).status_code == 503
        await backend.serving(False)
        await door.until(False, False)
        assert (await admin.get("/readyz")).status_code == 503


async def test_no_metric_label_comes_from_a_request():
    async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
        with pytest.raises(grpc.aio.AioRpcError):
            await door.channel.unary_unary("/made.up.Service/MadeUpMethod")(b"")
        await door.http.post("/made.up.Service/MadeUpMethod", json={})
        async with httpx.AsyncClient(base_url=door.admin) as admin:
            assert "MadeUp" not in (await admin.get("/metrics")).text


async def test_reflection_describes_everything():
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(sampler=[backend], tokenizer=[backend]) as door,
    ):
        names, methods, kind = await asyncio.to_thread(_reflect, door.target)
    assert {
        SAMPLER_NAME,
        TOKENIZER_NAME,
        "pequod.model.v1.ModelService",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } == names
    assert "GenerateStream" in methods
    assert kind == "SERVING"


def _reflect(target):
    """What a reflection client without any of our stubs learns."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        names = set(database.get_services())
        methods = {m.name for m in pool.FindServiceByName(SAMPLER_NAME).methods}
        health_file = pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse")
        return names, methods, health_file.enum_types_by_name["ServingStatus"].values_by_number[1].name


async def test_reflection_speaks_the_plain_protocol():
    async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
        stub = reflection_pb2_grpc.ServerReflectionStub(door.channel)
        call = stub.ServerReflectionInfo()
        await call.write(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="pequod.model.v1.Model")
        )
        reply = await call.read()
        assert len(reply.file_descriptor_response.file_descriptor_proto) >= 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_sigterm_drains_a_real_gateway(tmp_path):
    """Not ready at once, the running calls finish, new ones are refused, exit code 0."""
    release, started = asyncio.Event(), asyncio.Event()

    async def hold(request, context):
        for _ in range(2):
            await context.write(b"")
            started.set()
            await release.wait()

    async with backends(FakeBackend(**{GENERATE_STREAM: hold})) as (backend,):
        environment = {
            **os.environ,
            "PEQUOD_HOST": "127.0.0.1",
            "PEQUOD_GATEWAY_PORT": "0",
            "PEQUOD_GATEWAY_HTTP_PORT": "0",
            "PEQUOD_GATEWAY_ADMIN_PORT": "0",
            **{f"PEQUOD_{service.name.upper()}_BACKENDS": backend.address for service in SERVICES},
            "PEQUOD_DRAIN_SECONDS": "0.5",
            "PEQUOD_GRACE_SECONDS": "3600",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env=environment, stderr=asyncio.subprocess.PIPE
        )
        try:
            ports = await _ports(process)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel:
                stub = channel.unary_stream(GENERATE_STREAM)
                held = await _first(stub)
                await asyncio.wait_for(started.wait(), 10)
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                while (await watch.read()).status != SERVING:
                    pass
                process.send_signal(signal.SIGTERM)
                assert (await watch.read()).status == NOT_SERVING
                async with httpx.AsyncClient() as http:
                    reply = await http.get(f"http://127.0.0.1:{ports['http']}/readyz")
                assert reply.status_code == 503
                assert reply.json()["draining"] is True
                release.set()
                assert [m async for m in held] == [b""]
                # The stream that watches health is still open: it does not hold up the end.
                assert await asyncio.wait_for(process.wait(), 30) == 0
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def _ports(process):
    while line := await process.stderr.readline():
        record = json.loads(line)
        if record["message"] == "serving":
            return record["ports"]
    raise AssertionError("the gateway ended before it served")


async def _first(stub):
    """A stream past its first message, opened as soon as the gateway knows its backend."""
    while True:
        call = stub(b"")
        messages = aiter(call)
        try:
            await anext(messages)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.02)
        else:
            return messages


async def test_a_foreign_address_is_refused_with_a_sentence():
    settings = GatewaySettings(listeners=Listeners(host="0.0.0.0", port=0, http_port=0, admin_port=0))
    with pytest.raises(SettingsError, match="PEQUOD_INSECURE=1"):
        async with running(settings, Metrics("gateway")):
            pass


async def test_a_taken_port_is_an_error_that_leaves_nothing_open():
    async with gateway(wait=False, sampler=["127.0.0.1:1"]) as door:
        taken = int(door.target.rpartition(":")[2])
        settings = GatewaySettings(
            listeners=Listeners(port=taken, http_port=0, admin_port=0),
            backends={"sampler": ("127.0.0.1:1",)},
            services=(SAMPLER,),
        )
        with pytest.raises(OSError, match=str(taken)):
            async with running(settings, Metrics("gateway")):
                pass


def test_settings_name_the_backends():
    services = (SAMPLER, TOKENIZER)
    environ = {"PEQUOD_SAMPLER_BACKENDS": "a:1, b.svc:2,a:1", "PEQUOD_TOKENIZER_PORT": "7"}
    assert load(environ, services).backends == {
        "sampler": ("a:1", "b.svc:2"),
        "tokenizer": ("127.0.0.1:7",),
    }


@pytest.mark.parametrize("bad", ["nohost", ":5", "host:", "host:x", "host:0", "host:65536", "host:٣"])
def test_a_backend_that_is_no_address_stops_the_start(bad):
    with pytest.raises(SettingsError, match="PEQUOD_SAMPLER_BACKENDS"):
        load({"PEQUOD_SAMPLER_BACKENDS": f"ok:1,{bad}"}, (SAMPLER,))
