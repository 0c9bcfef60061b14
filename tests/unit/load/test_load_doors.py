"""The HTTP doors: a status line that is good is not enough."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.load.calls.doors import Address, Doors
from tests.load.calls.known import Known
from tests.load.calls.pictures import check_picture
from tests.load.core.callers import made
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Kind, Record

BUSY = {
    "error": {
        "code": 14,
        "status": "UNAVAILABLE",
        "message": "too many calls are waiting",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "OVERLOADED", "domain": "pequod"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.250s"},
        ],
    }
}
SLOW_DOWN = {
    "error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "LIMIT_REACHED"}
}


@asynccontextmanager
async def doors(status, body, headers=None, error=None):
    """Doors whose HTTP side answers so."""

    def answer(request):
        assert request.headers["authorization"] == "Bearer pq_key"
        assert request.headers["x-timeout-seconds"] == "2.5"
        if error is not None:
            raise error
        return httpx.Response(status, content=body, headers={"x-request-id": "r1", **(headers or {})})

    async with Doors(Address("127.0.0.1:1", "http://gateway", "pq_key")) as made_doors:
        await made_doors._http.aclose()
        made_doors._http = httpx.AsyncClient(
            transport=httpx.MockTransport(answer),
            base_url="http://gateway",
            headers={"authorization": "Bearer pq_key"},
        )
        yield made_doors


async def verdict(way, status, body, headers=None, error=None):
    """What becomes of a call through ``way``, and what came before its end."""
    found = []
    async with doors(status, body, headers, error) as ours:

        async def call(marks):
            if way == "post":
                found.append(await ours.post("/x", {}, 2.5))
            else:
                found.extend([each async for each in getattr(ours, way)("/x", {}, 2.5)])

        outcome = await made(Record(), "x", call, 0.0)
    return outcome.verdict, found


async def test_an_answer_is_an_answer():
    told, found = await verdict("post", 200, b'{"a": 1}')
    assert (told.kind, found) == (Kind.OK, [{"a": 1}])
    told, found = await verdict("lines", 200, b'{"a": 1}\n{"a": 2}\n')
    assert (told.kind, found) == (Kind.OK, [{"a": 1}, {"a": 2}])
    told, found = await verdict("events", 200, b'data: {"a": 1}\n\ndata: [DONE]\n\n')
    assert (told.kind, found) == (Kind.OK, [{"a": 1}])


async def test_a_refusal_has_its_reason_and_its_time():
    told, _ = await verdict("post", 503, json.dumps(BUSY), {"retry-after": "1"})
    assert (told.kind, told.code, told.reason) == (Kind.REFUSED, "UNAVAILABLE", "OVERLOADED")
    assert (told.retry_after, told.request_id) == (0.25, "r1")
    told, _ = await verdict("events", 429, json.dumps(SLOW_DOWN), {"retry-after": "3"})
    assert (told.kind, told.code, told.reason) == (Kind.REFUSED, "RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    assert told.retry_after == 3
    told, _ = await verdict("events", 429, json.dumps(SLOW_DOWN))
    assert (told.kind, told.retry_after) == (Kind.REFUSED, None)


async def test_an_error_after_a_good_status_line_is_an_error():
    told, found = await verdict("lines", 200, '{"a": 1}\n' + json.dumps(BUSY) + "\n")
    assert (told.kind, told.reason, found) == (Kind.REFUSED, "OVERLOADED", [])
    late = {"error": {"message": "too late", "type": "server_error", "param": None, "code": "DEADLINE"}}
    told, _ = await verdict("events", 200, f"data: {json.dumps(late)}\n\n")
    assert (told.kind, told.code) == (Kind.LATE, "DEADLINE_EXCEEDED")


async def test_events_that_break_off_are_wrong():
    told, _ = await verdict("events", 200, b'data: {"a": 1}\n\n')
    assert (told.kind, told.detail) == (Kind.WRONG, "the events ended without [DONE]")


async def test_what_is_no_json_is_a_failure():
    told, _ = await verdict("post", 502, b"<html>bad gateway</html>")
    assert (told.kind, told.code) == (Kind.FAILED, "UNKNOWN")
    assert "bad gateway" in told.detail
    told, _ = await verdict("post", 200, b"no json")
    assert (told.kind, told.code) == (Kind.FAILED, "JSONDecodeError")


async def test_a_connection_that_breaks_is_a_failure():
    told, _ = await verdict("post", 200, b"", error=httpx.ConnectError("refused"))
    assert (told.kind, told.code, told.reason) == (Kind.FAILED, "UNAVAILABLE", "")


def test_equal_questions_have_equal_answers():
    known = Known()
    known.same(("story", 1), "a whale")
    known.same(("story", 1), "a whale")
    known.same(("story", 2), "a ship")
    with pytest.raises(WrongPayload, match="'a shark' in place of 'a whale'"):
        known.same(("story", 1), "a shark")
    known.near("text", [0.6, 0.8])
    known.near("text", [0.6, 0.800001])
    with pytest.raises(WrongPayload, match="differ by"):
        known.near("text", [0.6, 0.81])
    with pytest.raises(WrongPayload, match="differ by nan"):
        known.near("text", [0.6, float("nan")])
    with pytest.raises(WrongPayload, match="1 numbers in place of 2"):
        known.near("text", [0.6])


def test_a_picture_is_one(png):
    known = Known()
    check_picture(png(32, "red"), 32, "seed 1", known)
    check_picture(png(32, "red"), 32, "seed 1", known)
    with pytest.raises(WrongPayload, match="in place of"):
        check_picture(png(32, "blue"), 32, "seed 1", known)
    with pytest.raises(WrongPayload, match="a PNG of 64 x 64 is due"):
        check_picture(png(32, "red"), 64, "seed 2", known)
    with pytest.raises(WrongPayload, match="no picture"):
        check_picture(png(32, "red")[:40], 32, "seed 3", known)
    with pytest.raises(WrongPayload, match="no picture"):
        check_picture(b"", 32, "seed 4", known)
