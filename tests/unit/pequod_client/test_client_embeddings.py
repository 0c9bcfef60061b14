"""Vectors, orders and tokens as plain lists, from both clients."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest
from fake_gateway import refusal

from pequod.tokenizer.v1 import TRUNCATION_END, TRUNCATION_REFUSE, VECTOR_FORMAT_FLOAT32_BYTES
from pequod_client import PequodError
from pequod_client.embeddings import PART_LETTERS


async def test_a_bulk_gives_each_vector_with_its_number(face, server):
    texts = ["x" * length for length in range(250)]
    found = await face.embed_stream(iter(texts), model="minilm", dimensions=2, normalize=False)
    assert sorted(found) == [(number, [float(number), 0.5]) for number in range(250)]
    assert [number for number, _ in found[:2]] == [99, 98], "as they come, not in order"
    assert [len(part.inputs) for part in server.parts] == [100, 100, 50]
    first, second, _ = server.parts
    assert (first.model, first.options.dimensions) == ("minilm", 2)
    assert first.options.HasField("normalize")
    assert first.options.format == VECTOR_FORMAT_FLOAT32_BYTES
    assert not second.model
    assert not second.HasField("options")


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_a_small_bulk_is_one_message(face, server, count):
    found = await face.embed_stream(["a"] * count, model="minilm")
    assert len(found) == count
    assert [(part.model, len(part.inputs)) for part in server.parts] == [("minilm", count)]


async def test_long_texts_travel_in_smaller_messages(face, server):
    await face.embed_stream(["x" * (PART_LETTERS // 2)] * 5)
    assert [len(part.inputs) for part in server.parts] == [2, 2, 1]


async def test_an_error_of_the_texts_reaches_the_reader(face, server):
    def texts():
        yield from ["a"] * 150
        raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="the file is gone"):
        await face.embed_stream(texts())
    assert [len(part.inputs) for part in server.parts] == [100]


async def test_what_is_no_text_reaches_the_reader(face):
    with pytest.raises(TypeError):
        await face.embed_stream(["a", 7])


async def test_a_refused_bulk_is_an_error(face, server):
    server.refusals.append(refusal(grpc.StatusCode.NOT_FOUND, reason="MODEL_NOT_FOUND"))
    with pytest.raises(PequodError) as caught:
        await face.embed_stream(["a"])
    assert caught.value.reason == "MODEL_NOT_FOUND"


async def test_a_refusal_keeps_its_reason_though_a_write_fails_too(aio, server):
    """grpc.aio loses the status of a call that ends during a write: some in a hundred of these."""
    for _ in range(200):
        server.refusals.append(refusal(grpc.StatusCode.NOT_FOUND, reason="MODEL_NOT_FOUND"))
        with pytest.raises(PequodError) as caught:
            async for _ in aio.embed_stream(["a"]):
                pass
        assert caught.value.reason == "MODEL_NOT_FOUND"


def test_usage_comes_with_the_last_reply(client):
    with client.embed_stream(["a", "b"]) as pairs:
        assert len(list(pairs)) == 2
    assert pairs.last.usage.input_tokens == 2


def test_leaving_the_block_ends_an_endless_bulk(client, server):
    with client.embed_stream(itertools.repeat("a")) as pairs:
        assert next(pairs) == (99, [1.0, 0.5])
    assert server.left.wait(10)


async def test_leaving_the_async_block_ends_an_endless_bulk(aio, server):
    async with aio.embed_stream(itertools.repeat("a")) as pairs:
        assert await anext(pairs) == (99, [1.0, 0.5])
    assert await asyncio.to_thread(server.left.wait, 10)


async def test_texts_may_come_asynchronously(aio):
    async def texts():
        for text in ("a", "abc"):
            await asyncio.sleep(0)
            yield text

    assert [pair async for pair in aio.embed_stream(texts())] == [(1, [3.0, 0.5]), (0, [1.0, 0.5])]


def test_the_blocking_client_reads_no_asynchronous_texts(client):
    async def texts():
        yield "a"

    with pytest.raises(TypeError, match="AsyncClient"):
        list(client.embed_stream(texts()))


async def test_rank_gives_numbers_and_scores_best_first(face, server):
    found = await face.rank("q", ["a", "abc", "ab"], model="minilm", top_n=3, truncate=True)
    assert found == [(1, 3.0), (2, 2.0), (0, 1.0)]
    request = server.seen[0].request
    assert (request.model, request.query.text, request.top_n) == ("minilm", "q", 3)
    assert request.truncation == TRUNCATION_END
    await face.rank("q", ["a"])
    assert server.seen[1].request.truncation == TRUNCATION_REFUSE


async def test_tokens_and_their_numbers(face, server):
    assert await face.tokens("abc", model="gpt2") == [97, 98, 99]
    assert await face.count_tokens(["abc", ""], model="gpt2") == [3, 0]
    assert [call.request.model for call in server.seen] == ["gpt2", "gpt2"]


@pytest.mark.parametrize(
    "call",
    [
        lambda face: face.embed("one text"),
        lambda face: face.embed_stream("one text"),
        lambda face: face.rank("q", "one text"),
        lambda face: face.count_tokens("one text"),
    ],
    ids=["embed", "embed_stream", "rank", "count_tokens"],
)
async def test_one_text_in_place_of_a_list_is_refused(face, call):
    with pytest.raises(TypeError, match="not one text"):
        await call(face)


async def test_unknown_settings_are_named(face):
    with pytest.raises(TypeError, match="dimension"):
        await face.embed_stream(["a"], dimension=2)
    with pytest.raises(TypeError, match="top"):
        await face.rank("q", ["a"], top=2)
