"""Calls of both clients against a real gRPC server in this process: what is sent, what comes back."""

from __future__ import annotations

import grpc
import pytest
from fake_gateway import UNAVAILABLE, refusal
from google.rpc import error_details_pb2, status_pb2

from pequod.gan.v1 import SampleRequest
from pequod.sampler.v1 import (
    GenerateRequest,
)
from pequod.tokenizer.v1 import TRUNCATION_END
from pequod_client import Client, PequodError


async def test_text_sends_the_settings(face, server):
    assert await face.text("THE ", model="moby-ngram", order=3, seed=7, max_tokens=64) == "THE ab"
    request = server.seen[0].request
    assert (request.model, request.ngram.order, request.sampling.seed) == ("moby-ngram", 3, 7)
    assert request.stopping.max_tokens == 64
    assert not request.sampling.HasField("temperature")


async def test_settings_that_are_not_given_stay_unset(face, server):
    await face.text("x", temperature=0.0)
    request = server.seen[0].request
    assert request.sampling.HasField("temperature")
    assert not request.HasField("ngram")
    assert not request.stopping.HasField("max_tokens")


async def test_unknown_setting_is_named(face):
    with pytest.raises(TypeError, match="temprature"):
        await face.text("x", temprature=1.0)


async def test_embed_gives_a_vector_a_text(face, server):
    found = await face.embed(["a", "abc"], model="minilm", dimensions=2, truncate=True)
    assert found == [[1.0, 0.5], [3.0, 0.5]]
    request = server.seen[0].request
    assert (request.model, request.options.dimensions) == ("minilm", 2)
    assert request.options.truncation == TRUNCATION_END
    assert not request.options.HasField("normalize")
    with pytest.raises(TypeError, match="dimension"):
        await face.embed(["a"], dimension=2)


async def test_error_carries_every_detail(face, server):
    violation = error_details_pb2.BadRequest.FieldViolation(field="top_p", description="3 is above 1")
    details = (
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.ResourceInfo(resource_type="model", resource_name="moby"),
        error_details_pb2.RequestInfo(request_id="abc"),
    )
    server.refusals.append(refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", details=details))
    with pytest.raises(PequodError) as caught:
        await face.text("x")
    error = caught.value
    assert (error.message, error.reason, error.metadata) == ("refused", "INVALID_FIELD", {"queue": "9"})
    assert error.violations == (("top_p", "3 is above 1"),)
    assert error.resource == ("model", "moby")
    assert error.request_id == "abc"
    assert error.retry_after is None
    assert isinstance(error.__cause__, grpc.RpcError)
    assert str(error) == "refused (INVALID_ARGUMENT, INVALID_FIELD, request id abc)"


async def test_error_with_a_foreign_status_keeps_the_plain_one(face, server):
    status = refusal()
    contradiction = status_pb2.Status(code=3, message="other").SerializeToString()

    def refuse(request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", contradiction),))
        context.abort(UNAVAILABLE, status.message)

    server._begin = refuse
    with pytest.raises(PequodError) as caught:
        await face.text("x")
    assert (caught.value.code, caught.value.message, caught.value.reason) == (UNAVAILABLE, "refused", "")


async def test_own_request_id_and_key_are_sent(server):
    with Client(server.target, api_key="pk-1") as client:
        client.sampler.Generate(GenerateRequest(), metadata=(("x-request-id", "mine"),))
    assert server.seen[0].metadata["x-request-id"] == "mine"
    assert server.seen[0].metadata["authorization"] == "Bearer pk-1"


async def test_service_that_is_not_there(client, aio):
    with pytest.raises(PequodError) as caught:
        client.gan.Sample(SampleRequest())
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(PequodError):
        await aio.gan.Sample(SampleRequest())


def test_nobody_listens():
    with Client("127.0.0.1:1") as client, pytest.raises(PequodError) as caught:
        client.text("x", timeout=5)
    assert caught.value.code is UNAVAILABLE
    assert caught.value.request_id


def test_reply_with_its_call(client):
    reply, call = client.sampler.Generate.with_call(GenerateRequest(prompt="x"))
    assert reply.completions[0].text == "xab"
    assert call.code() is grpc.StatusCode.OK
