"""The spans of calls through each door of the gateway, in front of real gRPC servers."""

import asyncio
import contextlib

import grpc
import pytest

import inference as pb
from gateway.settings import Policy
from services.common.errors import Code, Reason, ServiceError, overloaded
from services.common.tracing.starting import tracing
from tests.unit.common.collector import Collector, tree
from tests.unit.gateway.fakes import GENERATE, GENERATE_STREAM, FakeBackend, backends, gateway, replies
from tests.unit.gateway.kserve.kserve_parts import EMBED, Services, door_of, infer_request, texts
from tests.unit.gateway.openai_parts import COMPLETIONS, Sampler, failing

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "them=1", "baggage": "shop=9"}
CALL = GENERATE[1:]


@contextlib.contextmanager
def traced():
    """A collector that has everything once the inner block has ended."""
    with Collector() as collector:
        yield collector, tracing("gateway", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})


def passed_on(backend, path=GENERATE):
    """The context that a backend was given."""
    return next(metadata for seen, metadata in reversed(backend.seen) if seen == path)


@pytest.mark.parametrize("path", [GENERATE, GENERATE_STREAM])
async def test_over_grpc_a_call_is_served_and_calls(path):
    with traced() as (collector, tracing_on):
        async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
            with tracing_on:
                call = door.stub(path)(b"x", metadata=tuple(PARENT.items()))
                await (call if path == GENERATE else replies(call))
    served, called = collector.of(TRACE)
    assert (served.kind, served.parent, served.name) == ("server", CALLER, path[1:])
    assert (called.kind, called.parent, called.name) == ("client", served.id, path[1:])
    assert served.attributes["rpc.response.status_code"] == "OK"
    assert len(served.attributes["pequod.request_id"]) == 32
    assert called.attributes["server.port"] == backend.port
    arrived = passed_on(backend, path)
    assert arrived["traceparent"] == f"00-{TRACE}-{called.id}-01"
    assert (arrived["tracestate"], arrived["baggage"]) == ("them=1", "shop=9")


async def test_a_retry_is_a_second_attempt():
    bad, good = FakeBackend(**{GENERATE: failing(overloaded("full", 1.0))}), FakeBackend()
    with traced() as (collector, tracing_on):
        async with backends(bad, good), gateway(sampler=[bad, good]) as door:
            with tracing_on:
                while not bad.calls():
                    await door.stub(GENERATE)(b"x")
    (retried,) = (each for each in collector.spans if each.attributes.get("pequod.attempt") == 2)
    served, first, second = collector.of(retried.trace)
    assert not served.failed
    assert served.parent == ""
    assert first.parent == second.parent == served.id
    assert (first.failed, first.attributes["server.port"]) == (True, bad.port)
    assert first.attributes["error.type"] == "UNAVAILABLE"
    assert (second.failed, second.attributes["server.port"]) == (False, good.port)


async def test_the_wait_for_a_place_is_a_span():
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(request, context):
        begun.set()
        await go.wait()
        return request

    policy = Policy(max_inflight=1)
    with traced() as (collector, tracing_on):
        fake = FakeBackend(**{GENERATE: slow})
        async with backends(fake) as (backend,), gateway(sampler=[backend], policy=policy) as door:
            with tracing_on:
                first = asyncio.ensure_future(door.stub(GENERATE)(b"x"))
                await begun.wait()
                second = door.stub(GENERATE)(b"x", metadata=tuple(PARENT.items()))
                while not door.sample("pequod_queue_depth", service="gateway"):
                    await asyncio.sleep(0.01)
                go.set()
                await asyncio.gather(first, second)
    assert tree(collector.of(TRACE)) == [
        ("pequod-gateway", CALL, ""),
        ("pequod-gateway", "admission queue", CALL),
        ("pequod-gateway", CALL, CALL),
    ]
    assert sum(each.name == "admission queue" for each in collector.spans) == 1


async def test_over_json_the_call_is_part_of_the_request():
    with traced() as (collector, tracing_on):
        async with backends(FakeBackend()) as (backend,), gateway(sampler=[backend]) as door:
            with tracing_on:
                assert (await door.http.post(GENERATE, json={}, headers=PARENT)).status_code == 200
    request, call, attempt = collector.of(TRACE)
    assert (request.kind, request.name, request.parent) == ("server", f"POST {GENERATE}", CALLER)
    assert request.attributes["http.route"] == GENERATE
    assert request.attributes["http.response.status_code"] == 200
    assert (call.kind, call.name, call.parent) == ("internal", CALL, request.id)
    assert (attempt.kind, attempt.parent) == ("client", call.id)
    assert passed_on(backend)["traceparent"] == f"00-{TRACE}-{attempt.id}-01"


@pytest.mark.parametrize("stream", [False, True])
async def test_over_openais_door_too(stream):
    sampler = Sampler()
    fake = FakeBackend(**{GENERATE: sampler.generate, GENERATE_STREAM: sampler.stream})
    body = {"model": "m", "prompt": "my prompt", "stream": stream}
    with traced() as (collector, tracing_on):
        async with backends(fake) as (backend,), gateway(sampler=[backend]) as door:
            with tracing_on:
                reply = await door.http.post(COMPLETIONS, json=body, headers=PARENT)
                assert reply.status_code == 200
    request, *below = collector.of(TRACE)
    assert (request.name, request.attributes["http.route"]) == (f"POST {COMPLETIONS}", COMPLETIONS)
    path = (GENERATE_STREAM if stream else GENERATE)[1:]
    assert [(each.kind, each.name) for each in below][-2:] == [("internal", path), ("client", path)]
    assert "my prompt" not in repr(collector.spans)


async def test_over_kserves_doors_too():
    services = Services()
    request = infer_request("words", texts("text", "a"))
    with traced() as (collector, tracing_on):
        async with door_of(services) as door:
            with tracing_on:
                stub = pb.GRPCInferenceServiceStub(door.channel)
                await stub.ModelInfer(request, metadata=tuple(PARENT.items()))
                other = {**PARENT, "traceparent": f"00-{'a' * 32}-{CALLER}-01"}
                data = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
                reply = await door.http.post("/v2/models/words/infer", json={"inputs": [data]}, headers=other)
                assert reply.status_code == 200
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.ModelInfer(infer_request("nobody"), metadata=(("traceparent", "none"),))
    served, *below = collector.of(TRACE)
    assert (served.kind, served.name) == ("server", "inference.GRPCInferenceService/ModelInfer")
    assert below[-1].kind == "client"
    assert below[-1].name == EMBED[1:]
    rest, *below = collector.of("a" * 32)
    assert rest.name == "POST /v2/models/{model}/infer"
    assert below[-1].kind == "client"
    (refused,) = (each for each in collector.spans if each.kind == "server" and not each.parent)
    assert refused.attributes["rpc.response.status_code"] == "NOT_FOUND"


async def test_what_a_call_ends_with_is_on_its_span():
    gone = FakeBackend(**{GENERATE: failing(ServiceError(Code.INTERNAL, Reason.INTERNAL, "my prompt"))})
    with traced() as (collector, tracing_on):
        async with backends(gone) as (backend,), gateway(sampler=[backend]) as door:
            with tracing_on:
                assert (await door.http.post(GENERATE, json={}, headers=PARENT)).status_code == 500
                assert (await door.http.post(GENERATE, content=b"{", headers=PARENT)).status_code == 400
                for path in ("/healthz", "/readyz", "/"):
                    await door.http.get(path, headers=PARENT)
    failed, call, attempt, refused = collector.of(TRACE)
    assert (failed.failed, failed.attributes["error.type"]) == (True, "500")
    assert (call.failed, call.attributes["error.type"]) == (True, "INTERNAL")
    assert (attempt.failed, attempt.attributes["rpc.response.status_code"]) == (True, "INTERNAL")
    assert (refused.failed, refused.attributes["http.response.status_code"]) == (False, 400)
    assert "my prompt" not in repr(collector.spans)


async def test_a_caller_that_leaves_ends_its_spans():
    begun = asyncio.Event()

    async def endless(request, context):
        begun.set()
        await asyncio.Event().wait()

    with traced() as (collector, tracing_on):
        fake = FakeBackend(**{GENERATE: endless})
        async with backends(fake) as (backend,), gateway(sampler=[backend]) as door:
            with tracing_on:
                call = door.stub(GENERATE)(b"x")
                await begun.wait()
                call.cancel()
                labels = {"service": "gateway", "method": GENERATE, "code": "CANCELLED"}
                while not door.sample("pequod_requests_total", **labels):
                    await asyncio.sleep(0.01)
    served, called = collector.of(collector.spans[0].trace)
    assert served.attributes["rpc.response.status_code"] == "CANCELLED"
    assert not served.failed
    assert called.attributes["error.type"] == "CANCELLED"
