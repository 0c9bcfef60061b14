"""With keys on, nothing answers without one but what is meant to: every RPC and every endpoint is asked."""

from __future__ import annotations

import fakes
import grpc
import pytest
from fakes import FakeBackend, backends, gateway, reason
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from key_parts import Keys

import inference
from gateway.methods import method_table
from gateway.openai.routes import ENTRIES
from services.common.catalogue import SERVICES

METHODS = method_table(SERVICES)
OPEN_RPCS = {"ServerLive", "ServerReady", "ServerMetadata"}
"""KServe's probes, and the name of the server; besides them gRPC's own health and reflection are open."""
OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/", "/v2/health/live", "/v2/health/ready", "/v2")
KSERVE_PATHS = (
    *(("GET", path) for path in ("/v2/models/m", "/v2/models/m/ready", "/v2/models/m/config")),
    *(("GET", path) for path in ("/v2/models/m/stats", "/v2/models/stats", "/v2/models/m/versions/1")),
    *(("POST", f"/v2/repository/{path}") for path in ("index", "models/m/load", "models/m/unload")),
    ("POST", "/v2/models/m/generate"),
    ("POST", "/v2/models/m/generate_stream"),
)
INFER = '{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}'


@pytest.fixture
async def door(tmp_path, monkeypatch):
    """A gateway with keys before one backend that plays every service."""
    monkeypatch.setattr(fakes, "ENTRIES", {entry.name: entry for entry in SERVICES})
    keys = Keys(tmp_path)
    keys.add("somebody")
    async with backends(FakeBackend()) as (backend,):
        everywhere = {entry.name: [backend] for entry in SERVICES}
        async with gateway(settings={"keys": keys.settings}, **everywhere) as started:
            yield started, backend


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if not hasattr(call, "read") else call.read())
    return caught.value.code().name, reason(caught.value)


async def test_every_rpc(door):
    started, backend = door
    for path, method in METHODS.items():
        ways = "_".join(
            "stream" if each else "unary" for each in (method.request_streaming, method.response_streaming)
        )
        opened = getattr(started.channel, ways)(path)
        call = opened(iter([b""])) if method.request_streaming else opened(b"")
        assert await refusal(call) == ("UNAUTHENTICATED", "KEY_MISSING"), path
    assert backend.calls() == 0


async def test_every_rpc_of_kserve(door):
    started, _ = door
    service = inference.ModelInferRequest.DESCRIPTOR.file.services_by_name["GRPCInferenceService"]
    asked = {}
    for method in service.methods:
        path = f"/{service.full_name}/{method.name}"
        if method.server_streaming:
            call = started.channel.stream_stream(path)(
                iter([inference.ModelInferRequest(model_name="m").SerializeToString()])
            )
        else:
            call = started.channel.unary_unary(path)(about_a_model(method))
        if method.name in OPEN_RPCS:
            await call
        else:
            asked[method.name] = (
                await refusal(call) if not method.server_streaming else await first_error(call)
            )
    closed = {name: said for name, said in asked.items() if said[0] != "UNIMPLEMENTED"}
    assert closed.keys() >= {
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "RepositoryIndex",
    }
    assert set(closed.values()) == {("UNAUTHENTICATED", "KEY_MISSING")}


def about_a_model(method):
    """A request that names a model wherever one can be named."""
    request = message_factory.GetMessageClass(method.input_type)()
    for field in {"name", "model_name"}.intersection(request.DESCRIPTOR.fields_by_name):
        setattr(request, field, "m")
    return request.SerializeToString()


async def first_error(call):
    """What a stream of inferences answers: its errors are replies, by their protocol."""
    reply = inference.ModelStreamInferResponse.FromString(await call.read())
    return (
        ("UNAUTHENTICATED", "KEY_MISSING")
        if "key is needed" in reply.error_message
        else ("OK", reply.error_message)
    )


async def test_every_rpc_as_json(door):
    started, backend = door
    for path, method in METHODS.items():
        reply = await started.http.post(path, json={})
        assert reply.status_code == (501 if method.request_streaming else 401), path
    assert backend.calls() == 0


async def test_every_endpoint(door):
    started, backend = door
    for entry in ENTRIES:
        path = entry.described.path.format(model="m", file="ds-" + "a" * 26, job="ft-" + "a" * 26)
        if entry.described.media.startswith("multipart"):
            reply = await started.http.post(
                path, files={"file": b"a", "image": b"a"}, data={"model": "m", "prompt": "a"}
            )
        else:
            reply = await started.http.request(
                entry.described.verb.upper(), path, json=BODIES.get(entry.described.path)
            )
        assert reply.status_code in (401, 400), (path, reply.text)
        if reply.status_code == 400:  # the body is looked at first, by the gateway alone
            assert entry.described.verb == "post"
    assert backend.calls() == 0


BODIES = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "a"}]},
    "/v1/responses": {"model": "m", "input": "a"},
    "/v1/completions": {"model": "m", "prompt": "a"},
    "/v1/embeddings": {"model": "m", "input": "a"},
    "/v1/images/generations": {"model": "m", "prompt": "a"},
    "/v1/rerank": {"model": "m", "query": "a", "documents": ["b"]},
    "/v1/tokenize": {"model": "m", "prompt": "a"},
    "/v1/detokenize": {"model": "m", "tokens": [1]},
    "/v1/fine_tuning/jobs": {"model": "m", "training_file": "ds-1", "recipe": "ngram"},
}


async def test_endpoints_with_a_sound_body_say_that_a_key_is_missing(door):
    started, _ = door
    for path, body in BODIES.items():
        reply = await started.http.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "KEY_MISSING"), path


async def test_every_endpoint_of_kserve(door):
    started, backend = door
    for verb, path in KSERVE_PATHS:
        reply = await started.http.request(verb, path, json={} if verb == "POST" else None)
        assert (reply.status_code, reply.json()["reason"]) == (401, "KEY_MISSING"), path
    reply = await started.http.post("/v2/models/m/infer", content=INFER)
    assert reply.status_code == 401
    assert backend.calls() == 0


async def test_what_is_open(door):
    started, _ = door
    for path in OPEN_PATHS:
        assert (await started.http.get(path)).status_code == 200, path
    reply = await health_pb2_grpc.HealthStub(started.channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
