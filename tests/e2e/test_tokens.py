"""Tokens and words through every door: command line, gRPC, JSON."""

import json
import subprocess

import grpc
import pytest

from pequod.model.v1 import ListModelsRequest, ModelServiceStub
from pequod.tokenizer.v1 import TokenizeRequest, TokenizerServiceStub

LECTURE = 'Who\'d use "后" vs. "後"?'


@pytest.fixture(scope="module")
def channel(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield channel


@pytest.mark.parametrize(("encoding", "count"), [("cl100k", 11), ("gpt2", 13)])
def test_the_lectures_text_has_as_many_tokens_through_every_door(platform, channel, encoding, count):
    request = TokenizeRequest(model=encoding, texts=[LECTURE], pieces=True)
    by_grpc = TokenizerServiceStub(channel).Tokenize(request).tokenizations[0]
    assert len(by_grpc.ids) == count
    assert b"".join(by_grpc.pieces) == LECTURE.encode()
    body = {"model": encoding, "texts": [LECTURE]}
    status, reply = platform.post("pequod.tokenizer.v1.TokenizerService/Tokenize", body)
    assert status == 200
    assert reply["tokenizations"][0]["ids"] == list(by_grpc.ids)
    line = platform.run("tokens", "--encoding", encoding, LECTURE)
    assert line.returncode == 0, line.stderr
    pieces, total = line.stdout.splitlines()
    assert len(pieces.split("|")) == count
    assert total == f"{count} tokens ({encoding})"


def test_a_program_reads_the_reply_as_json(platform):
    reply = json.loads(platform.run("tokens", "--json", "Call me Ishmael.").stdout)
    assert len(reply["tokenizations"][0]["ids"]) == 6
    assert reply["usage"]["model"] == "cl100k"


def test_standard_input_is_read(platform):
    line = subprocess.run(
        [platform.pequod, "tokens", "--encoding", "cl100k", "-"],
        input=LECTURE,
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert line.stdout.splitlines()[1] == "11 tokens (cl100k)"


def test_bytes_that_are_no_whole_character_are_shown_in_hexadecimal(platform):
    pieces = platform.run("tokens", "--encoding", "gpt2", "a后").stdout.splitlines()[0]
    assert pieces == "a|<E5 90>|<8E>"


def test_a_table_shows_ids_and_bytes(platform):
    rows = platform.run("tokens", "--table", "--encoding", "gpt2", "后").stdout.splitlines()
    assert "<E5 90>" in rows[1]
    assert "<8E>" in rows[2]


@pytest.mark.parametrize(
    ("plus", "minus", "answer"),
    [
        (("man", "mother"), "woman", "father"),
        (("his", "you"), "he", "your"),
        (("king", "woman"), "man", "queen"),
    ],
)
def test_analogies_of_the_lecture(platform, plus, minus, answer):
    words = [option for word in plus for option in ("--plus", word)]
    reply = platform.run("words", "analogy", *words, "--minus", minus, "--json")
    assert json.loads(reply.stdout)["neighbors"][0]["word"] == answer


def test_a_horse_is_more_like_a_cow_than_like_an_ocean(platform):
    def asked(other):
        reply = json.loads(platform.run("words", "similarity", "horse", other, "--json").stdout)
        return reply["similarities"][0]

    cow, ocean = asked("cow"), asked("ocean")
    assert cow["dotProduct"] > ocean["dotProduct"]
    assert cow["cosine"] > ocean["cosine"]


def test_neighbours_are_shown_nearest_first(platform):
    shown = platform.run("words", "neighbors", "whale", "--limit", "3")
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:]] == ["sperm", "whales", "whale's"]


def test_an_analogy_can_multiply(platform):
    words = ("--plus", "king", "--plus", "woman", "--minus", "man")
    shown = platform.run("words", "analogy", *words, "--multiply", "--limit", "1")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[1].split()[0] == "queen"


def test_the_gateway_lists_the_models_of_both_services(channel):
    models = ModelServiceStub(channel).ListModels(ListModelsRequest()).models
    services = {model.name: model.service for model in models}
    assert services["minilm"] == services["cl100k"] == services["words"] == "tokenizer"
    assert services["moby-ngram"] == "sampler"
