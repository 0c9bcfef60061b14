"""The JSON door: replies, streams, errors, and everything that is not JSON."""

import asyncio
import json

import grpc
import pytest

from gateway.routes.body import MAX_DEPTH, parse
from gateway.routes.errors import HTTP_STATUS
from gateway.settings import Policy
from pequod.sampler.v1 import GenerateRequest, GenerateStreamResponse
from services.common.errors import Code, Reason, ServiceError, overloaded
from services.common.rpc import status
from tests.unit.gateway.fakes import (
    EMBED_STREAM,
    GENERATE,
    GENERATE_STREAM,
    UPLOAD,
    FakeBackend,
    backends,
    gateway,
)
from tests.unit.gateway.json_parts import answer, reason, spell, violated, works


@pytest.fixture
async def backend():
    async with backends(FakeBackend(**{GENERATE: answer, GENERATE_STREAM: spell})) as (fake,):
        yield fake


def failing(error):
    async def behaviour(request, context):
        rich = status.to_status(error)
        await context.abort(status.grpc_code(rich.code), rich.message, status.trailing(rich))

    return behaviour


async def test_a_unary_call_is_protobuf_json(door):
    reply = await door.http.post(GENERATE, json={"prompt": "后 é", "n": 1})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    # 64-bit numbers are strings in protobuf JSON.
    assert reply.json() == {"completions": [{"text": "后 é"}], "seed": str(2**63)}


async def test_both_spellings_of_a_field_are_understood(door, backend):
    seen = []

    async def look(request, context):
        seen.append(GenerateRequest.FromString(request))
        return b""

    backend.on(GENERATE, look)
    for body in ({"bestOf": 2, "topLogprobs": 3}, {"best_of": 2, "top_logprobs": 3}):
        assert (await door.http.post(GENERATE, json=body)).status_code == 200
    assert seen == [GenerateRequest(best_of=2, top_logprobs=3)] * 2


async def test_a_stream_is_one_json_object_a_line(door):
    async with door.http.stream("POST", GENERATE_STREAM, json={"prompt": "abc"}) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) async for line in reply.aiter_lines()]
    assert lines == [{"text": "a"}, {"text": "b"}, {"text": "c"}]


async def test_a_stream_is_flushed_message_by_message(door, backend):
    go_on = asyncio.Event()

    async def two(request, context):
        await context.write(GenerateStreamResponse(text="1").SerializeToString())
        await go_on.wait()
        await context.write(GenerateStreamResponse(text="2").SerializeToString())

    backend.on(GENERATE_STREAM, two)
    async with door.http.stream("POST", GENERATE_STREAM, json={}) as reply:
        lines = reply.aiter_lines()
        assert json.loads(await anext(lines)) == {"text": "1"}
        go_on.set()
        assert json.loads(await anext(lines)) == {"text": "2"}


async def test_an_error_in_a_stream_is_its_last_line(door, backend):
    async def half(request, context):
        await context.write(GenerateStreamResponse(text="1").SerializeToString())
        await failing(overloaded("full", 2.0))(request, context)

    backend.on(GENERATE_STREAM, half)
    reply = await door.http.post(GENERATE_STREAM, json={})
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert reply.status_code == 200
    assert lines[0] == {"text": "1"}
    assert lines[1]["error"]["status"] == "UNAVAILABLE"
    assert lines[1]["error"]["details"][0]["reason"] == Reason.OVERLOADED
    assert len(lines) == 2


async def test_an_error_before_the_first_message_has_its_own_status(door, backend):
    backend.on(GENERATE_STREAM, failing(overloaded("full", 1.2)))
    reply = await door.http.post(GENERATE_STREAM, json={})
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "2"
    assert reason(reply) == Reason.OVERLOADED


@pytest.mark.parametrize("code", list(Code), ids=lambda c: c.name)
async def test_every_code_has_its_http_status(door, backend, code):
    backend.on(GENERATE, failing(ServiceError(code, Reason.UNSUPPORTED, "why", metadata={"a": "b"})))
    reply = await door.http.post(GENERATE, json={}, headers={"x-request-id": "mine"})
    error = reply.json()["error"]
    assert reply.status_code == HTTP_STATUS[code]
    assert (error["code"], error["status"], error["message"]) == (int(code), code.name, "why")
    assert error["request_id"] == reply.headers["x-request-id"] == "mine"
    assert error["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "UNSUPPORTED",
        "domain": "pequod",
        "metadata": {"a": "b"},
    }


async def test_an_error_without_details_is_shown_too(door, backend):
    async def bare(request, context):
        await context.abort(grpc.StatusCode.ABORTED, "just so")

    backend.on(GENERATE, bare)
    reply = await door.http.post(GENERATE, json={})
    assert reply.status_code == 409
    assert reply.json()["error"]["message"] == "just so"
    assert reply.json()["error"]["details"] == []


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"prompt": ', "line 1 column"),
        (b'{"prompt": "a",\n "n": }', "line 2 column 7"),
        (b'{"prompt": "\xff"}', "byte 12"),
        (b"[1]", "an array"),
        (b"null", "null"),
        (b'{"sampling": {"temperature": NaN}}', "NaN"),
        (b'{"sampling": {"temperature": -Infinity}}', "-Infinity"),
        (b'{"n": 1, "n": 2}', "'n' stands twice"),
        (b"[" * 10**6, "levels deep"),
        (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, "levels deep"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "levels deep"),
        (b"{} trailing", "line 1 column 4"),
    ],
    ids=[
        "cut",
        "line",
        "utf8",
        "array",
        "null",
        "nan",
        "inf",
        "twice",
        "deep",
        "bomb",
        "just-too-deep",
        "rest",
    ],
)
async def test_what_is_not_json_is_refused_with_the_place(door, body, part):
    reply = await door.http.post(GENERATE, content=body)
    assert reply.status_code == 400
    assert reason(reply) == Reason.MALFORMED_JSON
    assert part in reply.json()["error"]["message"]
    assert await works(door)


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        ({"promt": "x"}, "promt", "did you mean prompt?"),
        ({"sampling": {"temprature": 1}}, "sampling.temprature", "did you mean temperature?"),
        ({"chat": {"messages": [{"rolle": 1}]}}, "chat.messages[0].rolle", "did you mean role?"),
        ({"sampling": {"temperature": "hot"}}, "sampling.temperature", "float"),
        ({"n": -1}, "n", "-1"),
        ({"n": 2**40}, "n", str(2**40)),
        ({"n": 1.5}, "n", "1.5"),
        ({"n": "many"}, "n", "many"),
        ({"prompt": 3}, "prompt", ""),
        ({"prompt": ["a"]}, "prompt", ""),
        ({"promptIds": {"ids": [1, "a"]}}, "ids", ""),
        ({"ngram": {"smoothing": "SMOOTH"}}, "ngram.smoothing", "SMOOTH"),
        ({"prompt": "a", "promptIds": {"ids": [1]}}, "request", "input"),
    ],
    ids=str,
)
async def test_a_field_that_does_not_fit_is_named(door, backend, body, field, part):
    reply = await door.http.post(GENERATE, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert violated(reply) == field
    assert part in reply.json()["error"]["message"]
    assert backend.calls() == 0
    assert await works(door)


async def test_an_empty_body_is_an_empty_request(door):
    assert (await door.http.post(GENERATE, content=b"")).status_code == 200
    assert (await door.http.post(GENERATE, content=b" \n")).status_code == 200


async def test_a_body_of_50_mb_is_refused(door, backend):
    body = b'{"prompt": "' + b"a" * (50 * 2**20) + b'"}'
    reply = await door.http.post(GENERATE, content=body)
    assert reply.status_code == 413
    assert reason(reply) == Reason.MESSAGE_TOO_LARGE
    assert "32 MiB" in reply.json()["error"]["message"]
    assert await works(door)


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(door):
    async def chunks():
        for _ in range(50):
            yield b"a" * 2**20

    reply = await door.http.post(GENERATE, content=chunks())
    assert reply.status_code == 413
    assert await works(door)


async def test_a_declared_length_is_refused_before_the_body_comes(door):
    reader, writer = await asyncio.open_connection(*door.base.removeprefix("http://").split(":"))
    writer.write(
        f"POST {GENERATE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n")
    assert b"413" in head
    writer.close()
    await writer.wait_closed()


async def test_a_large_body_within_the_limit_passes(door):
    text = "a" * (2 * 2**20)
    reply = await door.http.post(GENERATE, json={"prompt": text})
    assert reply.json()["completions"][0]["text"] == text


async def test_an_unknown_method_names_the_close_ones(door):
    reply = await door.http.post("/pequod.sampler.v1.SamplerService/Generat", json={})
    assert reply.status_code == 404
    assert reason(reply) == Reason.METHOD_NOT_FOUND
    assert "SamplerService/Generate" in reply.json()["error"]["message"]


async def test_get_on_a_method_says_to_post(door):
    reply = await door.http.get(GENERATE)
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert "POST" in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", [UPLOAD, EMBED_STREAM])
async def test_streams_of_requests_are_not_for_json(door, path):
    reply = await door.http.post(path, json={})
    assert reply.status_code == 501
    assert "gRPC" in reply.json()["error"]["message"]


async def test_a_web_page_cannot_post_a_form(door, backend):
    page = {"origin": "http://evil.example"}
    for headers in (page, {**page, "content-type": "text/plain"}):
        reply = await door.http.post(GENERATE, content=b"{}", headers=headers)
        assert reply.status_code == 415
    asked = await door.http.options(GENERATE, headers={**page, "access-control-request-method": "POST"})
    assert "access-control-allow-origin" not in asked.headers
    assert backend.calls() == 0
    json_headers = {**page, "content-type": "application/json; charset=utf-8"}
    assert (await door.http.post(GENERATE, content=b"{}", headers=json_headers)).status_code == 200


async def test_the_gateways_own_page_may(door):
    host = door.http.base_url.netloc.decode()
    for origin in (f"http://{host}", f"https://{host}"):  # whatever ends TLS before it
        reply = await door.http.post(GENERATE, content=b"{}", headers={"origin": origin})
        assert reply.status_code == 200
    for origin in ("null", "", f"http://{host}.evil.example", "http://evil.example"):
        assert (await door.http.post(GENERATE, content=b"{}", headers={"origin": origin})).status_code == 415


async def test_trace_context_goes_onward_and_other_headers_do_not(door, backend):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"traceparent": trace, "x-request-id": "abc", "x-pequod-caller": "forged/x", "cookie": "a=b"}
    reply = await door.http.post(GENERATE, json={}, headers=headers)
    assert reply.headers["x-request-id"] == "abc"
    arrived = backend.seen[-1][1]
    assert arrived["traceparent"] == trace
    assert arrived["x-request-id"] == "abc"
    assert not {"x-pequod-caller", "cookie"} & set(arrived)


async def test_a_forged_request_id_is_replaced(door):
    reply = await door.http.post(GENERATE, json={}, headers={"x-request-id": "a b;c"})
    assert reply.headers["x-request-id"] != "a b;c"


async def test_a_bug_says_only_its_id(door, monkeypatch, caplog):
    async def broken(call, backend):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gateway.upstream.forward.attempt", broken)
    reply = await door.http.post(GENERATE, json={}, headers={"x-request-id": "find-me"})
    assert reply.status_code == 500
    assert "find-me" in reply.json()["error"]["message"]
    assert "secret" not in reply.text
    assert "ZeroDivisionError: secret" in caplog.text


async def test_the_gates_hold_for_json_too(backend):
    release = asyncio.Event()

    async def hold(request, context):
        await release.wait()
        return b""

    backend.on(GENERATE, hold)
    async with gateway(sampler=[backend], policy=Policy(max_inflight=1, max_queue=0)) as door:
        first = asyncio.ensure_future(door.http.post(GENERATE, json={}))
        while door.sample("pequod_inflight", service="sampler") < 1:
            await asyncio.sleep(0.01)
        reply = await door.http.post(GENERATE, json={})
        assert reply.status_code == 503
        assert reason(reply) == Reason.OVERLOADED
        assert int(reply.headers["retry-after"]) >= 1
        release.set()
        assert (await first).status_code == 200


def test_depth_is_counted_from_the_outside():
    just = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert parse(just)
    with pytest.raises(ServiceError):
        parse(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1))
