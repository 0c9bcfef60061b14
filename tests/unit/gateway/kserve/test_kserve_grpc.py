"""The gRPC door of KServe's clients: what the server says, errors, statistics, the pipeline."""

from __future__ import annotations

import grpc
import pytest

import inference as pb
from gateway.models import GET_MODEL
from services.common.errors import invalid, overloaded
from tests.unit.gateway.fakes import details, reason
from tests.unit.gateway.kserve.kserve_parts import (
    EMBED,
    GENERATE,
    LOAD,
    UNLOAD,
    conversation,
    in_bytes,
    infer_request,
    texts,
)

HELLO = texts("text_input", "hello")


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_the_server_says_what_it_is(stub):
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    metadata = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name == "pequod"
    assert {"binary_tensor_data", "generate", "statistics"} <= set(metadata.extensions)


@pytest.mark.parametrize(("name", "ready"), [("writer", True), ("counts", False), ("nobody", False)])
async def test_a_model_in_memory_is_ready(stub, name, ready):
    assert (await stub.ModelReady(pb.ModelReadyRequest(name=name))).ready is ready


async def test_the_index_lists_what_has_tensors(stub):
    reply = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
    shown = {each.name: (each.version, each.state, each.reason) for each in reply.models}
    assert shown["writer"] == ("4", "READY", "")
    assert shown["counts"] == ("4", "UNAVAILABLE", "unloaded; the next inference loads it")
    assert shown["pipeline"] == ("4", "UNAVAILABLE", "no weights")
    assert "style" in shown
    assert "codes" not in shown
    ready = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    assert {each.name for each in ready.models} == shown.keys() - {"counts", "pipeline"}


async def test_models_are_loaded_and_unloaded(stub, services):
    reply = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="counts"))
    assert (reply.model_name, reply.isLoaded) == ("counts", True)
    assert services.asked(LOAD).model == "counts"
    # KServe's clients put the model's name where Triton's put the repository's.
    request = pb.RepositoryModelUnloadRequest(repository_name="counts")
    request.parameters["unload_dependents"].bool_param = False
    assert (await stub.RepositoryModelUnload(request)).isUnloaded
    assert services.asked(UNLOAD).model == "counts"


async def test_a_load_takes_no_other_configuration(stub):
    request = pb.RepositoryModelLoadRequest(model_name="counts")
    request.parameters["config"].string_param = "{}"
    error = await refused(stub.RepositoryModelLoad(request))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED")
    both = pb.RepositoryModelLoadRequest(model_name="counts", repository_name="other")
    assert "there is one repository" in (await refused(stub.RepositoryModelLoad(both))).details()
    assert (
        "there is one repository"
        in (await refused(stub.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="other")))).details()
    )


async def test_a_reply_says_whose_it_is(stub):
    reply = await stub.ModelInfer(infer_request("words", texts("text", "a"), outputs=["embedding"]))
    assert (reply.model_name, reply.model_version, reply.id) == ("words", "4", "7")
    request = infer_request("words", texts("text", "a"))
    request.model_version = "4"
    assert (await stub.ModelInfer(request)).model_version == "4"


async def test_a_request_keeps_its_id_and_its_trace(stub, services):
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    metadata = (("x-request-id", "mine"), ("traceparent", trace))
    call = stub.ModelInfer(infer_request("words", texts("text", "a")), metadata=metadata)
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine"
    for path in (GET_MODEL, EMBED):
        assert services.metadata[path]["x-request-id"] == "mine"
        assert services.metadata[path]["traceparent"] == trace


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (infer_request("words"), "INVALID_ARGUMENT", "inputs.text: is missing; BYTES[-1] is required"),
        (infer_request(""), "INVALID_ARGUMENT", "model_name: is required"),
        (infer_request("wrds"), "NOT_FOUND", "no model 'wrds'; did you mean words?"),
        (infer_request("codes"), "FAILED_PRECONDITION", "codes: kind encoding has no form as tensors"),
        (infer_request("sentences"), "INVALID_ARGUMENT", "inputs.text: either text or ids is required"),
        (infer_request("both"), "INVALID_ARGUMENT", "inputs.text: either text or image is required"),
        (
            infer_request("writer", HELLO, max_tokens=0),
            "INVALID_ARGUMENT",
            "parameters.max_tokens: 0 is below 1",
        ),
        (
            infer_request("writer", HELLO, stream=True),
            "INVALID_ARGUMENT",
            "parameters.stream: this call has one",
        ),
        (infer_request("writer", HELLO, timeout=-5), "INVALID_ARGUMENT", "parameters.timeout: -5 is below 0"),
        (
            infer_request("plain", texts("attributes", "a=b")),
            "INVALID_ARGUMENT",
            "inputs.attributes: there is no",
        ),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
async def test_a_bad_request_is_refused_by_name(stub, request_, code, said):
    error = await refused(stub.ModelInfer(request_))
    assert error.code().name == code
    assert error.details().startswith(said)


async def test_a_version_is_said_once(stub):
    request = infer_request("words:4", texts("text", "a"))
    request.model_version = "4"
    error = await refused(stub.ModelInfer(request))
    assert error.details() == "model_version: '4': words:4 says which one already"


async def test_attributes_are_names_with_values(stub):
    seed = pb.ModelInferRequest.InferInputTensor(name="seed", datatype="INT64", shape=[1])
    seed.contents.int64_contents.append(1)
    error = await refused(stub.ModelInfer(infer_request("faces", seed, texts("attributes", "hat"))))
    assert error.details() == "inputs.attributes: 'hat' is not name=value"


async def test_elements_stand_where_they_belong(stub):
    request = infer_request("words", texts("text", "a"))
    request.raw_input_contents.append(in_bytes(b"a"))
    error = await refused(stub.ModelInfer(request))
    assert error.details() == ("inputs.text: has contents beside raw_input_contents; one of them is expected")
    request.raw_input_contents.append(b"")
    error = await refused(stub.ModelInfer(request))
    assert error.details() == "raw_input_contents: has 2 entries, one for each of 1 is expected"
    wrong = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    wrong.contents.fp32_contents.append(1)
    error = await refused(stub.ModelInfer(infer_request("words", wrong)))
    assert error.details() == (
        "inputs.text: has fp32_contents, elements of BYTES are expected in bytes_contents"
    )
    half = pb.ModelInferRequest.InferInputTensor(name="text", datatype="FP16", shape=[1])
    half.contents.fp32_contents.append(1)
    error = await refused(stub.ModelInfer(infer_request("words", half)))
    assert error.details().endswith("elements of FP16 travel in raw_input_contents only")


async def test_a_parameter_has_a_value(stub):
    request = infer_request("words", texts("text", "a"))
    request.parameters["normalize"].SetInParent()
    error = await refused(stub.ModelInfer(request))
    assert error.details() == "parameters.normalize: has no value"


async def test_tensors_in_shared_memory_are_refused_as_such(stub):
    text = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    text.parameters["shared_memory_region"].string_param = "region"
    request = infer_request("words", text)
    error = await refused(stub.ModelInfer(request))
    assert error.details() == "inputs.text: tensors come in messages, shared memory is not offered"
    request.raw_input_contents.extend([b"", b""])
    error = await refused(stub.ModelInfer(request))
    assert error.details() == "raw_input_contents: has 2 entries, one for each of 1 is expected"


async def test_a_services_refusal_goes_on_as_it_is(stub, services):
    services.failures[EMBED] = overloaded("too many texts are waiting", 1.5)
    error = await refused(stub.ModelInfer(infer_request("words", texts("text", "a"))))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert any("RetryInfo" in detail.type_url for detail in details(error).details)


async def test_a_bug_is_told_by_its_request_id_alone(stub, monkeypatch):
    monkeypatch.setattr("gateway.kserve.embedding.np.frombuffer", lambda *_: 1 / 0)
    call = stub.ModelInfer(infer_request("words", texts("text", "a")), metadata=(("x-request-id", "r1"),))
    error = await refused(call)
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "internal error, request id r1",
    )


async def test_bytes_that_are_no_message_are_the_callers_mistake(door):
    call = door.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff")
    error = await refused(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["SystemSharedMemoryStatus", "TraceSetting", "LogSettings", "Nothing"])
async def test_what_triton_has_and_we_do_not_is_unimplemented(door, name):
    error = await refused(door.channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b""))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_FOUND")
    assert "shared memory, traces and log settings are not offered" in error.details()


async def test_a_timeout_ends_a_call(stub, services):
    services.held.add(GENERATE)
    error = await refused(stub.ModelInfer(infer_request("writer", HELLO, timeout=200_000)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert services.asked(GENERATE).prompt == "hello"


async def test_statistics_count_what_passed(stub, services):
    for _ in range(2):
        await stub.ModelInfer(infer_request("sentences", texts("text", "a", "b", "c")))
    services.failures[EMBED] = invalid("inputs", "no")
    await refused(stub.ModelInfer(infer_request("sentences", texts("text", "a"))))
    await conversation(stub, infer_request("writer", HELLO))
    every = await stub.ModelStatistics(pb.ModelStatisticsRequest())
    stats = {each.name: each for each in every.model_stats}
    assert "codes" not in stats
    found = stats["sentences"]
    assert (found.version, found.inference_count, found.execution_count) == ("4", 6, 2)
    assert found.last_inference > 0
    times = found.inference_stats
    assert (times.success.count, times.fail.count) == (2, 1)
    assert (times.queue.count, times.queue.ns) == (2, 2 * 2_000_000)
    assert (times.compute_infer.count, times.compute_infer.ns) == (2, 2 * 3_000_000)
    assert times.compute_input.count == times.compute_output.count == 2
    assert 0 < times.compute_input.ns < times.success.ns
    assert (stats["writer"].inference_count, stats["writer"].inference_stats.success.count) == (1, 1)
    assert stats["words"].inference_stats.success.count == 0
    (one,) = (
        await stub.ModelStatistics(pb.ModelStatisticsRequest(name="sentences", version="4"))
    ).model_stats
    assert one == found


async def test_every_inference_takes_the_pipeline(stub, door):
    await stub.ModelInfer(infer_request("words", texts("text", "a")))
    labels = {"service": "gateway", "method": EMBED, "code": "OK"}
    assert door.sample("pequod_requests_total", **labels) == 1
    await refused(stub.ModelInfer(infer_request("writer", HELLO, temperature="x")))
    assert door.sample("pequod_requests_total", service="gateway", method=GENERATE, code="OK") == 0
