"""Shannon's text through every door: command line, gRPC, JSON."""

import json
import urllib.request

import grpc
import pytest

from pequod.sampler.v1 import (
    GenerateRequest,
    GenerateStreamRequest,
    NgramOptions,
    SamplerServiceStub,
    Sampling,
    ScoreRequest,
    Stopping,
)
from services.common.catalogue import SERVICES

SPEC = {
    "model": "moby-ngram",
    "prompt": "THE ",
    "sampling": {"seed": "7"},
    "stopping": {"maxTokens": 80},
    "ngram": {"order": 3},
}


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield SamplerServiceStub(channel)


def request(kind=GenerateRequest, model="moby-ngram", order=3, seed=7):
    return kind(
        model=model,
        prompt="THE ",
        sampling=Sampling(seed=seed),
        stopping=Stopping(max_tokens=80),
        ngram=NgramOptions(order=order) if order else None,
    )


def test_the_same_seed_gives_the_same_text_through_every_door(platform, stub):
    by_grpc = stub.Generate(request()).completions[0].text
    by_stream = "".join(m.text for m in stub.GenerateStream(request(GenerateStreamRequest)))
    status, reply = platform.post("pequod.sampler.v1.SamplerService/Generate", SPEC)
    assert status == 200
    by_json = reply["completions"][0]["text"]
    line = platform.run(
        *("text", "--model", "moby-ngram", "--order", "3", "--seed", "7", "--max-tokens", "80", "THE ")
    )
    assert line.returncode == 0, line.stderr
    assert len(by_grpc) == 80
    assert by_grpc == by_stream == by_json
    assert line.stdout.rstrip("\n") == "THE " + by_grpc
    assert set(by_grpc) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ ")


def test_another_seed_gives_another_text(stub):
    texts = {stub.Generate(request(seed=seed)).completions[0].text for seed in range(5)}
    assert len(texts) == 5


def test_longer_contexts_score_the_book_higher(stub):
    """The lecture's point: the more symbols of context, the more the text reads like the book."""

    def likelihood(order, text):
        return stub.Score(
            ScoreRequest(model="moby-ngram", text=text, ngram=NgramOptions(order=order))
        ).log_likelihood

    book = "CALL ME ISHMAEL SOME YEARS AGO NEVER MIND HOW LONG PRECISELY"
    scores = [likelihood(order, book) for order in (1, 2, 3, 5)]
    assert scores == sorted(scores)


def test_unbounded_order_recites_the_book(stub):
    reply = stub.Generate(
        GenerateRequest(model="moby-unbounded", prompt="CALL ME ISHMA", stopping=Stopping(max_tokens=20))
    )
    assert reply.completions[0].text.startswith("EL SOME YEARS AGO")


def test_a_stream_as_json_lines(platform):
    call = urllib.request.Request(
        f"{platform.http}/pequod.sampler.v1.SamplerService/GenerateStream",
        data=json.dumps(SPEC).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=30) as reply:
        lines = [json.loads(line) for line in reply]
    assert lines[-1]["usage"]["model"] == "moby-ngram"
    assert sum(len(line.get("text", "")) for line in lines) == 80


def test_next_shows_the_table(platform):
    done = platform.run("next", "--model", "moby-ngram", "--order", "3", "--json", "THE Q")
    assert done.returncode == 0, done.stderr
    tokens = json.loads(done.stdout)["tokens"]
    assert tokens[0]["text"] == "U"
    assert tokens[0]["probability"] > 0.9


def test_models_are_listed(platform):
    done = platform.run("models", "ls", "--json")
    assert done.returncode == 0, done.stderr
    names = {model["name"] for model in json.loads(done.stdout)["models"]}
    assert {"moby-ngram", "moby-unbounded"} <= names
    assert platform.run("models", "show", "moby-ngram").returncode == 0


def test_status_is_ready(platform):
    done = platform.run("status")
    assert done.returncode == 0
    assert all(service.name in done.stdout for service in SERVICES)
