"""Triton's generate extension: one JSON object in, one out, or events as they come."""

from __future__ import annotations

import asyncio
import json

import pytest

from pequod.sampler import v1 as sampler
from services.common.errors import Code, Reason, ServiceError
from tests.unit.gateway.kserve.kserve_parts import EMBED, GENERATE, GENERATE_STREAM, post


async def test_generate_takes_inputs_and_parameters_as_fields(door, services):
    body = {"text_input": "hello", "id": "7", "stop": ["x", "y"], "parameters": {"max_tokens": 5, "seed": 3}}
    status, reply = await post(door, "/v2/models/writer/generate", body)
    assert status == 200
    assert reply == {
        "model_name": "writer",
        "model_version": "4",
        "id": "7",
        "text_output": " there",
        "finish_reason": "stop",
    }
    asked = services.asked(GENERATE)
    assert (asked.prompt, list(asked.stopping.stop), asked.stopping.max_tokens) == ("hello", ["x", "y"], 5)
    assert asked.sampling.seed == 3


async def test_generate_rounds_no_number(door, services):
    body = {"text_input": "hello", "temperature": 0.123456789012, "parameters": {"stop": "x", "top_k": None}}
    assert (await post(door, "/v2/models/writer/generate", body))[0] == 200
    asked = services.asked(GENERATE)
    assert (asked.sampling.temperature, list(asked.stopping.stop)) == (0.123456789012, ["x"])
    assert not asked.sampling.HasField("top_k")


async def test_generate_serves_every_kind(door, services):
    status, reply = await post(door, "/v2/models/sentences/versions/4/generate", {"ids": [[1, 2], [3, 4]]})
    assert (status, reply["embedding"]) == (200, [[0, 0.5], [1, 0.5]])
    assert [list(each.ids.ids) for each in services.asked(EMBED).inputs] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "inputs.text_input: is missing; BYTES[1] is required"),
        ({"text_inpt": "a"}, "text_inpt: there is no such input; did you mean text_input?"),
        ({"zzz": "a"}, "zzz: there is no such input; there are text_input, "),
        ({"text_input": 1}, "inputs.text_input: holds 1, texts are expected"),
        ({"text_input": ["a", "b"]}, "inputs.text_input: has the shape [2], BYTES[1] is expected"),
        ({"text_input": []}, "inputs.text_input: has the shape [0], BYTES[1] is expected"),
        ({"text_input": {}}, "inputs.text_input: holds {}, texts are expected"),
        ({"text_input": "a", "seed": 1.5}, "parameters.seed: is 1.5, a whole number is expected"),
        ({"text_input": "a", "stream": True}, "parameters.stream: this call has one reply"),
        ({"text_input": "a", "top_p": 10**400}, "parameters.top_p: is larger than any number"),
        ({"text_input": "a", "stop": ["a", 1]}, "inputs.stop: holds 1, texts are expected"),
        ({"text_input": "a", "seed": {}}, "inputs.seed: element 0 is {}, INT64 is expected"),
        ({"text_input": "a", "id": 7}, "id: is 7, a text is expected"),
        ({"text_input": "a", "parameters": 7}, "parameters: must be an object"),
        ({"seed": 1, "parameters": {"seed": 2}}, "parameters.seed: stands beside them too; give one of them"),
        ({"text_input": "a", "timeout": "x"}, "parameters.timeout: is 'x', a whole number is expected"),
    ],
    ids=lambda each: each[:40] if isinstance(each, str) else "",
)
async def test_generate_refuses_by_name(door, body, said):
    status, error = await post(door, "/v2/models/writer/generate", body)
    assert status == 400
    assert error["error"].startswith(said)


async def events(door, body, model="writer"):
    async with door.http.stream("POST", f"/v2/models/{model}/generate_stream", json=body) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in reply.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


async def test_generate_stream_sends_pieces_as_events(door):
    found = await events(door, {"text_input": "hello", "id": "7"})
    assert [each["text_output"] for each in found] == [" th", "ere"]
    assert [each["finish_reason"] for each in found] == ["", "length"]
    assert {each["id"] for each in found} == {"7"}


async def test_an_error_before_the_first_event_is_a_status_and_after_it_an_event(door, services):
    status, error = await post(door, "/v2/models/writer/generate_stream", {"text_input": 1})
    assert (status, error["reason"]) == (400, "INVALID_FIELD")
    services.pieces = [sampler.GenerateStreamResponse(text="a", seed=7)]
    services.failures[GENERATE_STREAM] = ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, "broken")
    found = await events(door, {"text_input": "hello"})
    assert found[1] == {"error": "broken", "reason": "FILE_TAMPERED"}


async def test_a_caller_that_leaves_ends_its_call(door, services):
    services.pieces = services.pieces[:1] * 100_000
    async with door.http.stream(
        "POST", "/v2/models/writer/generate_stream", json={"text_input": "hello"}
    ) as reply:
        async for _ in reply.aiter_lines():
            break
    path = "/v2/models/writer/stats"
    while not (await door.http.get(path)).json()["model_stats"][0]["inference_stats"]["fail"]["count"]:
        await asyncio.sleep(0.01)
    assert door.sample("pequod_inflight", service="sampler") == 0
