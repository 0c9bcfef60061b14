"""The client's plain calls for vectors, orders and tokens, against the real platform."""

import math

import pytest

from pequod_client import AsyncClient, Client, PequodError

LECTURE = 'Who\'d use "后" vs. "後"?'
PASSAGES = ["Bread is baked in an oven.", "Jupiter is the biggest planet.", "A cat sleeps on the sofa."]


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.grpc) as client:
        yield client


def test_a_bulk_gives_the_vectors_of_embed(client):
    texts = [f"{passage} {number}" for number in range(40) for passage in PASSAGES]
    with client.embed_stream(iter(texts), model="minilm", dimensions=64) as pairs:
        found = dict(pairs)
    assert sorted(found) == list(range(len(texts)))
    for number, vector in enumerate(client.embed(texts, model="minilm", dimensions=64)):
        assert found[number] == pytest.approx(vector, abs=1e-6)
    assert pairs.last.usage.input_tokens > len(texts)


async def test_asyncio_gives_the_same(platform, client):
    async def texts():
        for text in PASSAGES:
            yield text

    async with AsyncClient(platform.grpc) as aio:
        found = dict([pair async for pair in aio.embed_stream(texts())])
        assert await aio.rank("the largest planet", PASSAGES) == client.rank("the largest planet", PASSAGES)
    for number, vector in enumerate(client.embed(PASSAGES)):
        assert found[number] == pytest.approx(vector, abs=1e-6)


def test_an_empty_bulk_has_no_vectors(client):
    assert list(client.embed_stream([])) == []


def test_a_bad_text_ends_a_bulk_with_its_name(client):
    with pytest.raises(PequodError) as caught:
        list(client.embed_stream(["a", ""]))
    assert caught.value.violations[0].field == "inputs[1].text"


def test_vectors_have_the_length_asked_for(client):
    (scaled,) = client.embed(["a whale"], dimensions=8)
    (plain,) = client.embed(["a whale"], dimensions=8, normalize=False)
    assert math.hypot(*scaled) == pytest.approx(1, abs=1e-5)
    assert math.hypot(*plain) != pytest.approx(1, abs=0.01)
    assert scaled == pytest.approx([value / math.hypot(*plain) for value in plain], abs=1e-5)


def test_a_long_text_is_cut_only_when_asked_for(client):
    assert len(client.embed(["word " * 300], truncate=True)[0]) == 384
    with pytest.raises(PequodError, match="302"):
        client.embed(["word " * 300])


def test_rank_puts_the_answer_first(client):
    found = client.rank("Which planet is the largest?", PASSAGES, top_n=2)
    assert found[0][0] == 1
    assert len(found) == 2


@pytest.mark.parametrize(("model", "count"), [("cl100k", 11), ("gpt2", 13)])
def test_tokens_and_their_number(client, model, count):
    assert len(client.tokens(LECTURE, model=model)) == count
    assert client.count_tokens([LECTURE, ""], model=model) == [count, 0]
