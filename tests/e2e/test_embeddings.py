"""Vectors through the gateway: order that makes sense, streams, metrics, bad input."""

import json
import math
import urllib.request

import grpc
import pytest

from pequod.common.v1 import TokenIds
from pequod.tokenizer import v1
from tests.e2e.test_bad_input import violated

EMBED = "pequod.tokenizer.v1.EmbeddingService/Embed"
GOOD = v1.EmbedRequest(inputs=[v1.EmbedInput(text="a")])
QUESTION = "Which planet is the largest?"
PASSAGES = ["Bread is baked in an oven.", "Jupiter is the biggest planet.", "A cat sleeps on the sofa."]


@pytest.fixture(scope="module")
def channel(platform):
    options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
    with grpc.insecure_channel(platform.grpc, options=options) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return v1.EmbeddingServiceStub(channel)


def inputs(*texts):
    return [v1.EmbedInput(text=text) for text in texts]


def test_rank_puts_the_answer_first(platform):
    shown = platform.run("rank", QUESTION, *PASSAGES, "--json")
    documents = json.loads(shown.stdout)["documents"]
    assert documents[0]["text"] == PASSAGES[1]
    assert len(documents) == 3


def test_embed_shows_what_is_alike(platform):
    shown = platform.run("embed", "a cat sat on the mat", "a kitten on a rug", "stock markets fell")
    assert shown.returncode == 0, shown.stderr
    rows = shown.stdout.splitlines()
    first = next(line for line in rows if line.startswith("1 a cat sat")).split()
    assert float(first[-2]) > float(first[-1])


def test_json_over_http_gives_the_same_vector(platform, stub):
    status, reply = platform.post(EMBED, {"inputs": [{"text": "a whale"}]})
    assert status == 200
    by_grpc = stub.Embed(v1.EmbedRequest(inputs=inputs("a whale"))).embeddings[0].values
    assert reply["embeddings"][0]["values"] == pytest.approx(list(by_grpc), abs=1e-6)


def test_a_stream_through_the_gateway_gives_the_vectors_of_embed(stub):
    texts = [f"{passage} {number}" for number in range(40) for passage in PASSAGES]
    parts = (v1.EmbedStreamRequest(inputs=inputs(*texts[at : at + 50])) for at in range(0, 120, 50))
    found = {each.index: list(each.values) for reply in stub.EmbedStream(parts) for each in reply.embeddings}
    whole = stub.Embed(v1.EmbedRequest(inputs=inputs(*texts)))
    assert len(found) == 120
    for each in whole.embeddings:
        assert found[each.index] == pytest.approx(list(each.values), abs=1e-6)


def test_the_service_tells_of_its_queue_its_batches_and_its_models(platform, stub):
    stub.Embed(GOOD)
    port = platform.environment["PEQUOD_TOKENIZER_SIDE_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        shown = reply.read().decode()
    for name in (
        'pequod_requests_total{code="OK",method="/pequod.tokenizer.v1.EmbeddingService/Embed"',
        'pequod_queue_seconds_count{service="tokenizer"}',
        'pequod_queue_depth{service="tokenizer"}',
        'pequod_batch_rows_count{service="tokenizer"}',
        'pequod_compute_seconds_count{model="minilm"}',
        'pequod_prompt_tokens_total{model="minilm"}',
        *(f'pequod_model_loaded{{model="{name}",version="1"}} 1.0' for name in ("minilm", "words", "cl100k")),
    ):
        assert name in shown


@pytest.mark.parametrize(
    ("method", "request_of", "code", "field", "parts"),
    [
        ("Embed", v1.EmbedRequest, "INVALID_ARGUMENT", "inputs", ()),
        ("Embed", lambda: v1.EmbedRequest(inputs=inputs("")), "INVALID_ARGUMENT", "inputs[0].text", ()),
        (
            "Embed",
            lambda: v1.EmbedRequest(inputs=inputs("a" * 10_000_000)),
            "INVALID_ARGUMENT",
            "inputs[0].text",
            ("10000000", "1048576"),
        ),
        (
            "Embed",
            lambda: v1.EmbedRequest(inputs=inputs(*["a"] * 100_000)),
            "INVALID_ARGUMENT",
            "inputs",
            ("100,000", "10,000"),
        ),
        (
            "Embed",
            lambda: v1.EmbedRequest(inputs=inputs("word " * 300)),
            "INVALID_ARGUMENT",
            "inputs[0]",
            ("302", "256"),
        ),
        (
            "Embed",
            lambda: v1.EmbedRequest(inputs=[v1.EmbedInput(ids=TokenIds(ids=[30522]))]),
            "INVALID_ARGUMENT",
            "inputs[0].ids",
            ("30522",),
        ),
        (
            "Analogy",
            lambda: v1.AnalogyRequest(positive=["man", "zzqq"], negative=["xxyy"]),
            "INVALID_ARGUMENT",
            "positive[1]",
            ("zzqq", "xxyy"),
        ),
        (
            "Neighbors",
            lambda: v1.NeighborsRequest(vector=v1.Vector(values=[math.nan] * 300)),
            "INVALID_ARGUMENT",
            "vector.values",
            (),
        ),
    ],
)
def test_bad_input_is_refused_by_name(stub, method, request_of, code, field, parts):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_of(), timeout=30)
    assert caught.value.code().name == code
    assert violated(caught.value) == field
    for part in parts:
        assert part in caught.value.details()
    assert stub.Embed(GOOD).dimensions == 384


def test_invalid_utf8_is_refused_with_the_field(channel):
    call = channel.unary_unary("/pequod.tokenizer.v1.TokenizerService/Tokenize")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x12\x02\xc3\x28", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated(caught.value) == "texts"


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (v1.TokenizeRequest, "texts"),
        (lambda: v1.TokenizeRequest(texts=["a" * 10_000_000]), "texts[0]"),
        (lambda: v1.TokenizeRequest(texts=["a"] * 100_000), "texts"),
    ],
)
def test_texts_to_cut_are_checked(channel, request_of, field):
    tokenizer = v1.TokenizerServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        tokenizer.Tokenize(request_of(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated(caught.value) == field
    assert tokenizer.CountTokens(v1.CountTokensRequest(texts=["a", ""])).counts == [1, 0]


def test_ids_outside_the_vocabulary_are_refused(channel):
    request = v1.DetokenizeRequest(sequences=[TokenIds(ids=[1]), TokenIds(ids=[5, 100256])])
    with pytest.raises(grpc.RpcError) as caught:
        v1.TokenizerServiceStub(channel).Detokenize(request, timeout=10)
    assert violated(caught.value) == "sequences[1].ids[1]"


def test_an_unknown_encoding_suggests_the_close_names(platform):
    done = platform.run("tokens", "--encoding", "cl101k", "a")
    assert done.returncode == 1
    assert "cl100k" in done.stderr
