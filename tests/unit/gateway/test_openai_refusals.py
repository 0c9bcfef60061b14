"""The door under /v1: bad fields, errors of services, callers that leave or stall."""

import asyncio
import json

import pytest

from gateway.models import GET_MODEL
from pequod.model.v1 import MODEL_KIND_ADAPTER, GetModelResponse, Model
from pequod.sampler import v1
from services.common.errors import Code, Reason, ServiceError, invalid, overloaded
from tests.unit.gateway.fakes import GENERATE, GENERATE_STREAM
from tests.unit.gateway.openai_parts import CHAT, COMPLETIONS, EMBEDDINGS, HELLO, error_of, events, failing


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        (CHAT, {"model": "m"}, "messages", "messages: is required"),
        (CHAT, {"messages": []}, "model", "model: is required"),
        (CHAT, {**HELLO, "temprature": 1}, "temprature", "did you mean temperature?"),
        (CHAT, {**HELLO, "temperature": "hot"}, "temperature", "valid number"),
        (CHAT, {**HELLO, "n": 0}, "n", "greater than or equal to 1"),
        (CHAT, {**HELLO, "logit_bias": {"x": 1}}, "logit_bias", "'x' is no token id"),
        (
            CHAT,
            {"model": "m", "messages": [{"role": "tool", "content": ""}]},
            "messages[0].role",
            "'system', 'developer', 'user' or 'assistant'",
        ),
        (
            CHAT,
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
            "",
        ),
        (COMPLETIONS, {"model": "m", "prompt": []}, "prompt", "at least 1 item"),
        (COMPLETIONS, {"model": "m", "prompt": ["a"] * 65}, "prompt", "holds 65 prompts"),
        (COMPLETIONS, {"model": "m", "prompt": [-1]}, "prompt[0]", "greater than or equal to 0"),
        (COMPLETIONS, {"model": "m", "prompt": "a", "top_k": 2**32}, "top_k", "less than 4294967296"),
        (CHAT, {**HELLO, "logit_bias": {"9" * 5000: 1}}, "logit_bias", "is no token id"),
        (EMBEDDINGS, {"model": "m", "input": []}, "input", "at least 1 item"),
        (EMBEDDINGS, {"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format", "'base64'"),
    ],
)
async def test_a_bad_field_is_named(path, body, param, said, door, backend):
    code, kind, found, reason, message = await error_of(door, path, body)
    assert (code, kind, reason) == (400, "invalid_request_error", "INVALID_FIELD")
    assert found.startswith(param)
    assert said in message
    assert not backend.seen


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (CHAT, {**HELLO, "tools": [{"type": "function"}]}, "tools: models here call no tools"),
        (CHAT, {**HELLO, "audio": {"voice": "a"}}, "audio: there is no model of sounds"),
        (COMPLETIONS, {"model": "m", "prompt": "a", "suffix": "b"}, "suffix: models here only write on"),
    ],
)
async def test_what_nothing_here_can_do_is_refused_with_the_reason(path, body, said, door):
    code, kind, _, reason, message = await error_of(door, path, body)
    assert (code, kind, reason) == (400, "invalid_request_error", "UNSUPPORTED")
    assert said in message


@pytest.mark.parametrize("empty", [{"tools": None}, {"tools": []}, {"function_call": None}, {"stop": None}])
async def test_nothing_asked_for_is_nothing_refused(empty, door):
    assert (await door.http.post(CHAT, json={**HELLO, **empty})).status_code == 200


async def test_a_services_field_is_named_as_the_caller_knows_it(door, backend):
    backend.on(GENERATE, failing(invalid("sampling.top_p", "must be above 0, got -1")))
    assert (await error_of(door, CHAT, HELLO))[:4] == (400, "invalid_request_error", "top_p", "INVALID_FIELD")


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (ServiceError(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "no model 'm'"), 404, "not_found_error"),
        (ServiceError(Code.RESOURCE_EXHAUSTED, Reason.LIMIT_REACHED, "enough"), 429, "rate_limit_error"),
        (ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, "a file"), 500, "server_error"),
    ],
)
async def test_errors_of_services(error, code, kind, door, backend):
    backend.on(GENERATE, failing(error))
    assert (await error_of(door, CHAT, HELLO))[:4] == (code, kind, None, error.reason.value)


async def test_when_to_come_again_stands_in_a_header(door, backend):
    backend.on(GENERATE, failing(overloaded("full", 1.5)))
    reply = await door.http.post(CHAT, json=HELLO)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")


async def test_an_error_in_a_stream_is_its_last_event(door, backend, sampler):
    async def half(request, context):
        await context.write(sampler.pieces[0].SerializeToString())
        await failing(overloaded("full", 1.0))(request, context)

    backend.on(GENERATE_STREAM, half)
    said = await events(door, CHAT, HELLO)
    assert json.loads(said[-1])["error"]["code"] == "OVERLOADED"
    assert "[DONE]" not in said


async def test_a_stream_that_cannot_begin_has_a_status_line(door, backend):
    backend.on(GENERATE_STREAM, failing(ServiceError(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "no model")))
    reply = await door.http.post(CHAT, json={**HELLO, "stream": True})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


async def test_a_caller_that_leaves_ends_the_call(door, backend, sampler):
    left = asyncio.Event()

    async def endless(request, context):
        try:
            while True:
                await context.write(sampler.pieces[0].SerializeToString())
                await asyncio.sleep(0.01)
        finally:
            left.set()

    backend.on(GENERATE_STREAM, endless)
    async with door.http.stream("POST", CHAT, json={**HELLO, "stream": True}) as reply:
        await anext(reply.aiter_lines())
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_reader_that_stalls_stops_the_backend(door, backend):
    """Some megabytes lie between; the rest waits in the backend."""
    sent = []

    async def flood(request, context):
        piece = v1.GenerateStreamResponse(text="x" * 65536).SerializeToString()
        for _ in range(2000):
            await context.write(piece)
            sent.append(len(piece))

    backend.on(GENERATE_STREAM, flood)
    async with door.http.stream("POST", CHAT, json={**HELLO, "stream": True}) as reply:
        assert reply.status_code == 200
        await asyncio.sleep(1.5)
        before = len(sent)
        await asyncio.sleep(0.5)
        assert len(sent) == before < 1000


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("POST", "/v1/audio/speech", 404, "UNSUPPORTED"),
        ("POST", "/v1/nonsense", 404, "METHOD_NOT_FOUND"),
        ("GET", "/v1/nonsense", 404, "METHOD_NOT_FOUND"),
        ("GET", CHAT, 405, "UNSUPPORTED"),
        ("DELETE", "/v1/models/storyteller", 405, "UNSUPPORTED"),
    ],
)
async def test_paths_that_lead_nowhere(method, path, code, reason, door):
    reply = await door.http.request(method, path, json={} if method == "POST" else None)
    assert (reply.status_code, reply.json()["error"]["code"]) == (code, reason)


async def test_a_form_of_a_web_page_is_refused(door):
    headers = {"origin": "https://elsewhere.example", "content-type": "text/plain"}
    reply = await door.http.post(CHAT, content=json.dumps(HELLO), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "UNSUPPORTED")


async def test_what_is_no_json(door):
    reply = await door.http.post(CHAT, content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "MALFORMED_JSON")


async def test_half_a_character_is_no_text(door, backend):
    body = json.dumps({"model": "m", "prompt": "\ud800"})  # as JSON escapes it
    reply = await door.http.post(COMPLETIONS, content=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "MALFORMED_JSON")
    assert "\\ud800 is half of a pair" in error["message"]
    assert not backend.seen
    whole = json.dumps({"model": "m", "prompt": "\U0001f40b"})
    assert (await door.http.post(COMPLETIONS, content=whole)).status_code == 200


async def test_an_adapter_takes_no_second_one(door, backend):
    async def adapter(request, context):
        model = Model(name="m", kind=MODEL_KIND_ADAPTER, parent="base:1")
        return GetModelResponse(model=model).SerializeToString()

    backend.on(GET_MODEL, adapter)
    backend.on(GENERATE, failing(invalid("model", "m is an adapter")))
    code, _, param, reason, message = await error_of(door, CHAT, {**HELLO, "adapter": "b"})
    assert (code, param, reason) == (400, "adapter", "INVALID_FIELD")
    assert "m is an adapter already, got b beside it" in message


async def test_a_bad_field_is_no_question_of_adapters(door, backend):
    backend.on(GENERATE, failing(invalid("sampling.top_p", "must be above 0, got -1")))
    await error_of(door, CHAT, HELLO)
    assert backend.calls(GET_MODEL) == 0


async def test_a_time_limit_holds_for_all_calls_together(door, backend):
    async def slow(request, context):
        await asyncio.sleep(30)

    backend.on(GENERATE, slow)
    body = {"model": "m", "prompt": ["a", "b"]}
    reply = await door.http.post(COMPLETIONS, json=body, headers={"x-timeout-seconds": "0.2"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (504, "server_error")
