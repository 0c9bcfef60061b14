"""Vectors through the gateway: order that makes sense, streams, metrics."""

import json
import urllib.request

import grpc
import pytest

from pequod.tokenizer import v1

EMBED = "pequod.tokenizer.v1.EmbeddingService/Embed"
GOOD = v1.EmbedRequest(inputs=[v1.EmbedInput(text="a")])
QUESTION = "Which planet is the largest?"
PASSAGES = ["Bread is baked in an oven.", "Jupiter is the biggest planet.", "A cat sleeps on the sofa."]


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield v1.EmbeddingServiceStub(channel)


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
