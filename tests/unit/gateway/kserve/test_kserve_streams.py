"""ModelStreamInfer: pieces, the last of them, errors as replies, callers that leave."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import inference as pb
from services.common.errors import Code, Reason, ServiceError, invalid
from tests.unit.gateway.fakes import reason
from tests.unit.gateway.kserve.kserve_parts import (
    EMBED,
    GENERATE_STREAM,
    arrays,
    conversation,
    in_bytes,
    infer_request,
    texts,
)

HELLO = texts("text_input", "hello")


async def test_a_stream_has_pieces_and_says_which_is_the_last(stub, services):
    replies = await conversation(stub, infer_request("writer", HELLO, max_tokens=5))
    assert [arrays(each.infer_response)["text_output"] for each in replies] == [
        in_bytes(b" th"),
        in_bytes(b"ere"),
    ]
    final = [each.infer_response.parameters["triton_final_response"].bool_param for each in replies]
    assert final == [False, True]
    assert arrays(replies[-1].infer_response)["finish_reason"] == in_bytes(b"length")
    assert {each.infer_response.id for each in replies} == {"7"}
    assert {each.infer_response.parameters["seed"].int64_param for each in replies} == {7}
    assert services.asked(GENERATE_STREAM).stopping.max_tokens == 5


async def test_a_stream_answers_whole_where_that_is_asked_for_or_all_there_is(stub, services):
    (reply,) = await conversation(stub, infer_request("writer", HELLO, stream=False))
    assert arrays(reply.infer_response)["text_output"] == in_bytes(b" there")
    assert GENERATE_STREAM not in services.seen
    (reply,) = await conversation(stub, infer_request("words", texts("text", "a")))
    assert reply.infer_response.parameters["triton_final_response"].bool_param
    assert arrays(reply.infer_response)["embedding"].shape == (1, 2)


async def test_an_error_in_a_stream_is_its_requests_reply(stub, services):
    services.failures[EMBED] = invalid("inputs[0].text", "is empty")
    requests = [
        infer_request("words", texts("text", "a")),
        infer_request("nobody"),
        infer_request("writer", HELLO),
    ]
    for place, request in enumerate(requests):
        request.id = str(place)
    replies = await conversation(stub, *requests)
    by_id = {}
    for each in replies:
        by_id.setdefault(each.infer_response.id, []).append(each)
    (first,), (second,) = by_id["0"], by_id["1"]
    assert first.error_message == "inputs[0].text: is empty"
    assert first.infer_response.parameters["triton_final_response"].bool_param
    assert second.error_message.startswith("no model 'nobody'")
    assert [each.error_message for each in by_id["2"]] == ["", ""]


async def test_a_failure_after_some_pieces_is_told_too(stub, services):
    services.pieces = services.pieces[:1]
    services.failures[GENERATE_STREAM] = ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, "broken")
    first, second = await conversation(stub, infer_request("writer", HELLO))
    assert arrays(first.infer_response)["text_output"] == in_bytes(b" th")
    assert second.error_message == "broken"


async def test_a_strict_caller_gets_a_status(stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await conversation(stub, infer_request("nobody"), metadata=(("triton_grpc_error", "true"),))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason(caught.value) == "MODEL_NOT_FOUND"


async def test_a_caller_that_leaves_ends_its_calls(stub, services, door):
    services.pieces = services.pieces[:1] * 100_000
    call = stub.ModelStreamInfer(iter([infer_request("writer", HELLO)]))
    await call.read()
    call.cancel()
    request = pb.ModelStatisticsRequest(name="writer")
    while not (await stub.ModelStatistics(request)).model_stats[0].inference_stats.fail.count:
        await asyncio.sleep(0.01)
    assert door.sample("pequod_inflight", service="sampler") == 0
