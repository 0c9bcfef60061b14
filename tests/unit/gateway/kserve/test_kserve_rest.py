"""The REST door of KServe's clients: JSON and binary tensors, models, errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.models import GET_MODEL
from services.common.errors import Code, Reason, ServiceError, overloaded
from tests.unit.gateway.kserve.kserve_parts import (
    EMBED,
    LOAD,
    SIDE,
    UNLOAD,
    in_bytes,
    post,
)

TEXT = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
SENTENCES = "/v2/models/sentences/infer"


def binary(header, *data):
    """A body of JSON and bytes, with its headers."""
    text = json.dumps(header).encode()
    return {
        "content": b"".join((text, *data)),
        "headers": {
            "inference-header-content-length": str(len(text)),
            "content-type": "application/octet-stream",
        },
    }


async def test_the_server_says_what_it_is(door):
    for path in ("/v2", "/v2/"):
        reply = await door.http.get(path)
        assert reply.json()["name"] == "pequod"
        assert "generate" in reply.json()["extensions"]
    assert (await door.http.get("/v2/health/live")).json() == {"live": True}
    assert (await door.http.get("/v2/health/ready")).json() == {"ready": True}


async def test_a_model_says_what_it_is(door):
    reply = (await door.http.get("/v2/models/words")).json()
    assert (reply["name"], reply["versions"], reply["platform"]) == ("words", ["3", "4"], "pequod_f")
    assert reply["inputs"][0] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert reply["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 2]}]
    assert (await door.http.get("/v2/models/words/versions/4")).json() == reply
    config = (await door.http.get("/v2/models/words/versions/4/config")).json()
    assert config["input"][0]["data_type"] == "TYPE_STRING"
    assert config["input"][0]["dims"] == [-1]
    assert config["parameters"] == {"text.most_rows": {"string_value": "10000"}}
    assert config["max_batch_size"] == 0


async def test_readiness_is_a_status(door):
    assert (await door.http.get("/v2/models/writer/ready")).status_code == 200
    reply = await door.http.get("/v2/models/counts/ready")
    assert (reply.status_code, reply.json()) == (503, {"name": "counts", "ready": False})
    assert (await door.http.get("/v2/models/nobody/versions/1/ready")).status_code == 503


async def test_the_repository_is_listed_loaded_and_unloaded(door, services):
    status, index = await post(door, "/v2/repository/index", {"ready": True})
    assert status == 200
    assert {"name": "writer", "version": "4", "state": "READY", "reason": ""} in index
    status, _ = await post(door, "/v2/repository/models/counts/load", {})
    assert (status, services.asked(LOAD).model) == (200, "counts")
    body = {"parameters": {"unload_dependents": True}}
    status, _ = await post(door, "/v2/repository/models/counts/unload", body)
    assert (status, services.asked(UNLOAD).model) == (200, "counts")
    status, error = await post(door, "/v2/repository/models/counts/load", {"parameters": {"config": "{}"}})
    assert (status, error["reason"]) == (400, "UNSUPPORTED")


async def test_tensors_as_json(door, services):
    body = {"id": "7", "inputs": [TEXT], "parameters": {"normalize": True}}
    status, reply = await post(door, SENTENCES, body, x_request_id="mine")
    assert status == 200
    assert reply == {
        "model_name": "sentences",
        "model_version": "4",
        "id": "7",
        "parameters": {},
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [2, 2], "data": [0, 0.5, 1, 0.5]}],
    }
    assert services.asked(EMBED).options.normalize
    assert services.metadata[EMBED]["x-request-id"] == "mine"


async def test_data_may_be_nested_as_the_shape_is(door, services):
    ids = {"name": "ids", "datatype": "INT64", "shape": [2, 2], "data": [[1, 2], [3, -1]]}
    assert (await post(door, SENTENCES, {"inputs": [ids]}))[0] == 200
    assert [list(each.ids.ids) for each in services.asked(EMBED).inputs] == [[1, 2], [3]]


@pytest.mark.parametrize("by_request", [True, False])
async def test_tensors_as_bytes(door, by_request):
    elements = in_bytes(b"a", b"b")
    text = {**TEXT, "parameters": {"binary_data_size": len(elements)}}
    del text["data"]
    header = {"inputs": [text]}
    if by_request:
        header["parameters"] = {"binary_data_output": True}
    else:
        header["outputs"] = [{"name": "embedding", "parameters": {"binary_data": True}}]
    reply = await door.http.post(SENTENCES, **binary(header, elements))
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    size = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.content[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(reply.content[size:], "<f4").tolist() == [0, 0.5, 1, 0.5]


async def test_images_as_json_and_as_bytes(door):
    seed = {"name": "seed", "datatype": "INT64", "shape": [1], "data": [9]}
    _, reply = await post(door, "/v2/models/faces/infer", {"inputs": [seed]})
    assert reply["outputs"][0]["shape"] == [1, SIDE, SIDE, 3]
    assert reply["outputs"][0]["data"] == [9] * SIDE * SIDE * 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "inputs: is required"),
        ({"inputs": []}, "inputs: list should have at least 1 item"),
        ({"inputs": [TEXT], "input": 1}, "input: there is no such field; did you mean inputs?"),
        ({"inputs": [{**TEXT, "shape": ["2"]}]}, "inputs[0].shape[0]: input should be a valid integer"),
        ({"inputs": [{**TEXT, "dta": 1}]}, "inputs[0].dta: there is no such field"),
        (
            {"inputs": [{**TEXT, "data": None}]},
            "inputs.text: either data or the parameter binary_data_size is",
        ),
        ({"inputs": [{**TEXT, "data": [["a"], "b"]}]}, "inputs.text: holds ['a'], texts are expected"),
        ({"inputs": [{**TEXT, "data": ["a"]}]}, "inputs.text: has 1 elements, BYTES[2] has 2"),
        (
            {"inputs": [{**TEXT, "parameters": {"binary_data_size": 3}}]},
            "inputs.text: either data or the parameter binary_data_size is required",
        ),
        ({"inputs": [TEXT], "parameters": {"a": [1]}}, "parameters.a"),
        ({"inputs": [TEXT], "model_name": "words"}, "model_name: is 'words', the path says 'sentences'"),
        (
            {"inputs": [TEXT], "outputs": [{"name": "x"}]},
            "outputs.x: there is no such output; there are embedding",
        ),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
async def test_a_bad_body_is_refused_by_name(door, services, body, said):
    status, error = await post(door, SENTENCES, body)
    assert (status, error["reason"]) == (400, "INVALID_FIELD")
    assert error["error"].startswith(said)
    assert EMBED not in services.seen


@pytest.mark.parametrize(
    ("length", "data", "said"),
    [
        ("x", b"", "inference-header-content-length: 'x' is no number of bytes"),
        ("-1", b"", "inference-header-content-length: '-1' is no number of bytes"),
        ("9999", b"", "inference-header-content-length: '9999' is no number of bytes"),
        (None, b"1234", "inputs.text: says 5 bytes, 4 are left after the JSON"),
        (None, b"\x01\0\0\0ab", "body: has 1 bytes after the elements of its inputs"),
        (None, b"\x02\0\0\0a", "inputs.text: element 0 says 2 bytes, 1 are left"),
    ],
)
async def test_a_binary_body_is_as_long_as_it_says(door, length, data, said):
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    sent = binary({"inputs": [text]}, data)
    if length is not None:
        sent["headers"]["inference-header-content-length"] = length
    reply = await door.http.post(SENTENCES, **sent)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith(said)


@pytest.mark.parametrize("size", [-1, 1.5, "5", True])
async def test_a_size_is_a_number_of_bytes(door, size):
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    reply = await door.http.post(SENTENCES, **binary({"inputs": [text]}, b"12345"))
    assert reply.status_code == 400
    assert "a number of bytes is expected" in reply.json()["error"]


@pytest.mark.parametrize(
    ("verb", "path", "status", "reason"),
    [
        ("GET", "/v2/models/nobody", 404, "MODEL_NOT_FOUND"),
        ("GET", "/v2/models/codes", 400, "UNSUPPORTED"),
        ("GET", "/v2/nothing", 404, "METHOD_NOT_FOUND"),
        ("GET", "/v2/models/a%0Ab", 404, "METHOD_NOT_FOUND"),
        ("GET", SENTENCES, 405, "UNSUPPORTED"),
        ("POST", "/v2/health/live", 405, "UNSUPPORTED"),
        ("GET", "/v2/systemsharedmemory/status", 501, "UNSUPPORTED"),
        ("GET", "/v2/cudasharedmemory/region/a/status", 501, "UNSUPPORTED"),
        ("POST", "/v2/trace/setting", 501, "UNSUPPORTED"),
        ("GET", "/v2/models/words/trace/setting", 501, "UNSUPPORTED"),
        ("GET", "/v2/logging", 501, "UNSUPPORTED"),
    ],
)
async def test_what_is_not_there_is_said(door, verb, path, status, reason):
    reply = await door.http.request(verb, path)
    assert (reply.status_code, reply.json()["reason"]) == (status, reason)
    assert isinstance(reply.json()["error"], str)
    assert reply.headers["x-request-id"]


async def test_a_page_of_others_and_packed_bodies_are_refused(door, services):
    body = {"inputs": [TEXT]}
    content = {
        "content": json.dumps(body),
        "headers": {"origin": "http://other", "content-type": "text/plain"},
    }
    assert (await door.http.post(SENTENCES, **content)).status_code == 415
    reply = await door.http.post(SENTENCES, json=body, headers={"content-encoding": "gzip"})
    assert (reply.status_code, reply.json()["error"]) == (415, "send bodies as they are, not as gzip")
    assert EMBED not in services.seen


async def test_a_number_of_thousands_of_digits_is_no_bug(door):
    reply = await door.http.post(SENTENCES, content=b'{"inputs": %s}' % (b"9" * 5000))
    assert (reply.status_code, reply.json()["reason"]) == (400, "MALFORMED_JSON")


async def test_a_services_refusal_says_when_to_come_back(door, services):
    services.failures[EMBED] = overloaded("too many texts are waiting", 1.5)
    reply = await door.http.post(SENTENCES, json={"inputs": [TEXT]})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    assert reply.json()["reason"] == "OVERLOADED"
    services.failures[EMBED] = ServiceError(
        Code.RESOURCE_EXHAUSTED, Reason.LIMIT_REACHED, "no more", retry_after=7
    )
    reply = await door.http.post(SENTENCES, json={"inputs": [TEXT]})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")


async def test_a_bug_is_told_by_its_request_id_alone(door, monkeypatch):
    monkeypatch.setattr("gateway.kserve.embedding.np.frombuffer", lambda *_: 1 / 0)
    reply = await door.http.post(SENTENCES, json={"inputs": [TEXT]}, headers={"x-request-id": "r1"})
    assert reply.status_code == 500
    assert reply.json() == {"error": "internal error, request id r1", "reason": "INTERNAL"}


async def test_statistics_are_those_of_both_doors(door):
    await post(door, SENTENCES, {"inputs": [TEXT]})
    every = (await door.http.get("/v2/models/stats")).json()["model_stats"]
    (one,) = (await door.http.get("/v2/models/sentences/versions/4/stats")).json()["model_stats"]
    assert one in every
    assert (one["inference_count"], one["execution_count"]) == (2, 1)
    assert one["inference_stats"]["success"]["count"] == 1


async def test_probes_ask_nobody(door, services):
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        await door.http.get(path)
    assert GET_MODEL not in services.seen
