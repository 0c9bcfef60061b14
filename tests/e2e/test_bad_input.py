"""Bad input through the real doors: a clear status naming the field, and the next request works."""

import json
import math

import grpc
import pytest

from pequod.sampler.v1 import GenerateRequest, NgramOptions, SamplerServiceStub, Sampling, Stopping
from tests.e2e.refusals import UNLIMITED, refused_bytes, violated
from tests.e2e.refusals import refused as refused_call

GENERATE = "pequod.sampler.v1.SamplerService/Generate"
GOOD = {"model": "moby-ngram", "prompt": "THE ", "stopping": {"maxTokens": 8}}


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc, options=UNLIMITED) as channel:
        yield SamplerServiceStub(channel)


def request(**fields):
    return GenerateRequest(**{"model": "moby-ngram", "prompt": "THE ", **fields})


def refused(stub, message):
    """The error of a call that must fail; the one after it must work."""
    error = refused_call(stub.Generate, message)
    assert len(stub.Generate(request(stopping=Stopping(max_tokens=8)), timeout=30).completions[0].text) == 8
    return error


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": "A" * (10 * 2**20)}, "prompt"),
        ({"ngram": NgramOptions(order=0)}, "ngram.order"),
        ({"ngram": NgramOptions(order=6)}, "ngram.order"),
        ({"model": "moby-unbounded", "ngram": NgramOptions(order=2**31)}, "ngram.order"),
        ({"sampling": Sampling(temperature=-1)}, "sampling.temperature"),
        ({"sampling": Sampling(temperature=math.nan)}, "sampling.temperature"),
        ({"sampling": Sampling(temperature=math.inf)}, "sampling.temperature"),
        ({"sampling": Sampling(top_p=0)}, "sampling.top_p"),
        ({"sampling": Sampling(top_p=1.5)}, "sampling.top_p"),
        ({"sampling": Sampling(top_p=math.nan)}, "sampling.top_p"),
        ({"stopping": Stopping(max_tokens=0)}, "stopping.max_tokens"),
        ({"n": 17}, "n"),
        ({"model": "../etc/passwd"}, "model"),
        ({"model": "file:../../etc"}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_field_is_named(stub, fields, field):
    error = refused(stub, request(**fields))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    assert violated(error) == field
    assert field in error.details()


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("pequod.sampler.v1.SamplerService/Generate", "model"),
        ("pequod.model.v1.ModelService/GetModel", "model"),
    ],
)
def test_invalid_utf8_is_refused_with_the_field(platform, method, field):
    with grpc.insecure_channel(platform.grpc) as channel:
        error = refused_bytes(channel, method, b"\x0a\x02\xc3\x28")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    assert violated(error) == field


def test_an_empty_prompt_begins_from_nothing(stub):
    assert len(stub.Generate(request(prompt="", stopping=Stopping(max_tokens=8))).completions[0].text) == 8


def test_an_unknown_model_suggests_the_close_names(stub):
    error = refused(stub, request(model="moby-ngarm"))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "moby-ngram" in error.details()


def test_a_message_of_50_mb_is_refused(stub):
    error = refused(stub, request(prompt="A" * (50 * 2**20)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b'{"model": "moby-ngram", ', 400, "line 1"),
        (b"\xff\xfe{}", 400, "UTF-8"),
        (b'{"prompt": "\xc3\x28"}', 400, "UTF-8"),
        (b'{"modell": "moby-ngram"}', 400, "modell"),
        (b'{"prompt": "A", "sampling": {"temperature": "NaN"}}', 400, "sampling.temperature"),
        (b'{"n": "many"}', 400, "n"),
        (b"[1, 2]", 400, ""),
        (b"[" * 100_000, 400, ""),
        (json.dumps({"prompt": "A" * (50 * 2**20)}).encode(), 413, "32"),
        (json.dumps({"model": "moby-ngram", "prompt": "A" * (10 * 2**20)}).encode(), 400, "prompt"),
    ],
    ids=["cut", "bom", "utf8", "unknown-field", "nan", "type", "array", "deep", "50MB", "10MB-prompt"],
)
def test_bad_json_is_refused_with_the_place(platform, body, status, part):
    got, reply = platform.post(GENERATE, body)
    assert got == status, reply
    assert part in reply["error"]["message"], reply
    assert reply["error"]["details"][0]["reason"]
    assert platform.post(GENERATE, GOOD)[0] == 200


def test_an_unknown_method_is_not_found(platform):
    status, reply = platform.post("pequod.sampler.v1.SamplerService/Generat", {})
    assert status == 404
    assert "Generate" in reply["error"]["message"]


def test_the_command_line_prints_the_error_and_fails(platform):
    done = platform.run("text", "--model", "moby-ngram", "--temperature", "-1", "THE ")
    assert done.returncode == 1
    assert "sampling.temperature" in done.stderr
    assert "Traceback" not in done.stderr
