"""The embedding service through a real server, with the real MiniLM: every RPC, company, load, refusals."""

import array
import asyncio
import math
import random
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from pequod.common.v1 import Image, TokenIds, Usage
from pequod.tokenizer import v1
from services.common.metrics import Metrics
from services.common.rpc.status import DETAILS_KEY
from services.common.store.settings import StoreSettings
from services.tokenizer.__main__ import TokenizerProcess
from services.tokenizer.settings import TokenizerSettings
from tests.unit.serving import refused, serving

ROOT = Path(__file__).parents[3]
WORDS = (ROOT / "LICENSE").read_text().split()
PLANETS = ["Bread is baked in an oven.", "Jupiter is the biggest planet.", "The cat sleeps."]


@pytest.fixture
async def service(tmp_path):
    """A stub on a running service, and its metrics."""
    metrics = Metrics("tokenizer")
    stores = StoreSettings(
        shipped=ROOT / "models", user=str(tmp_path / "user"), cache=tmp_path / "cache", load_wait=30
    )
    settings = TokenizerSettings(preload=("minilm",), max_waiting=1024, max_work=64)
    process = TokenizerProcess(settings, stores, metrics, threads=1)
    async with serving(process, metrics) as channel:
        yield v1.EmbeddingServiceStub(channel), metrics


@pytest.fixture
def stub(service):
    return service[0]


def inputs(*texts):
    return [v1.EmbedInput(text=text) for text in texts]


def texts_of(count, longest=60, seed=1):
    chosen = random.Random(seed)
    starts = [chosen.randrange(len(WORDS) - longest) for _ in range(count)]
    return [" ".join(WORDS[start : start + chosen.randint(1, longest)]) for start in starts]


def vectors(embeddings):
    return np.array([list(each.values) for each in embeddings])


async def test_embed_answers_in_the_order_of_the_inputs_with_usage(stub):
    call = stub.Embed(v1.EmbedRequest(inputs=inputs(*PLANETS)))
    reply = await call
    assert [each.index for each in reply.embeddings] == [0, 1, 2]
    assert reply.dimensions == 384
    np.testing.assert_allclose(np.linalg.norm(vectors(reply.embeddings), axis=1), 1, atol=1e-5)
    assert reply.usage.input_tokens == sum(each.input_tokens for each in reply.embeddings)
    assert (reply.usage.model, reply.usage.version, reply.usage.batch_rows) == ("minilm", "1", 3)
    assert Usage.FromString(dict(await call.trailing_metadata())["pequod-usage-bin"]) == reply.usage
    assert dict(await call.initial_metadata())["x-accepted"] == "1"


async def test_vectors_may_come_as_bytes(stub):
    plain = await stub.Embed(v1.EmbedRequest(inputs=inputs("a whale")))
    options = v1.EmbedOptions(format=v1.VECTOR_FORMAT_FLOAT32_BYTES)
    packed = await stub.Embed(v1.EmbedRequest(inputs=inputs("a whale"), options=options))
    assert not packed.embeddings[0].values
    assert array.array("f", packed.embeddings[0].data).tolist() == list(plain.embeddings[0].values)


async def test_fewer_dimensions_are_the_first_ones_scaled_again(stub):
    whole = await stub.Embed(v1.EmbedRequest(inputs=inputs("a whale")))
    options = v1.EmbedOptions(dimensions=64)
    short = await stub.Embed(v1.EmbedRequest(inputs=inputs("a whale"), options=options))
    first = vectors(whole.embeddings)[0, :64]
    np.testing.assert_allclose(vectors(short.embeddings)[0], first / np.linalg.norm(first), atol=1e-6)


async def test_the_same_text_gets_the_same_vector_alone_and_under_random_arrival(stub):
    texts = texts_of(48)
    alone = [
        vectors((await stub.Embed(v1.EmbedRequest(inputs=inputs(text)))).embeddings)[0] for text in texts
    ]
    chosen = random.Random(3)

    async def call(place):
        await asyncio.sleep(chosen.random() * 0.2)
        company = [place, *chosen.sample(range(48), chosen.randint(0, 5))]
        reply = await stub.Embed(v1.EmbedRequest(inputs=inputs(*(texts[each] for each in company))))
        return company, vectors(reply.embeddings), reply.usage.batch_rows

    replies = await asyncio.gather(*(call(place) for place in range(48)))
    assert max(rows for _, _, rows in replies) > 6, "calls have shared engine steps"
    for company, found, _ in replies:
        for place, vector in zip(company, found, strict=True):
            np.testing.assert_allclose(vector, alone[place], atol=1e-6)


async def test_a_stream_gives_the_vectors_of_embed(stub):
    texts = texts_of(40)

    async def requests():
        yield v1.EmbedStreamRequest(inputs=inputs(*texts[:1]))
        yield v1.EmbedStreamRequest()
        yield v1.EmbedStreamRequest(inputs=inputs(*texts[1:30]))
        yield v1.EmbedStreamRequest(inputs=inputs(*texts[30:]))

    replies = [reply async for reply in stub.EmbedStream(requests())]
    found = {each.index: list(each.values) for reply in replies for each in reply.embeddings}
    whole = await stub.Embed(v1.EmbedRequest(inputs=inputs(*texts)))
    np.testing.assert_allclose([found[i] for i in range(40)], vectors(whole.embeddings), atol=1e-6)
    assert [reply.HasField("usage") for reply in replies] == [False] * (len(replies) - 1) + [True]
    assert replies[-1].usage.input_tokens == whole.usage.input_tokens


async def test_a_stream_answers_before_its_caller_has_said_all(stub):
    more = asyncio.Event()

    async def requests():
        yield v1.EmbedStreamRequest(inputs=inputs("one"))
        await more.wait()
        yield v1.EmbedStreamRequest(inputs=inputs("two"))

    call = stub.EmbedStream(requests())
    assert (await call.read()).embeddings[0].index == 0
    more.set()
    assert (await call.read()).embeddings[0].index == 1


async def test_a_stream_that_errs_says_where(stub):
    async def requests():
        yield v1.EmbedStreamRequest(inputs=inputs("fine"))
        yield v1.EmbedStreamRequest(inputs=inputs("fine", ""))

    call = stub.EmbedStream(requests())

    async def all_replies():
        return [reply async for reply in call]

    code, _, field = await refused(all_replies())
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "inputs[1].text")


async def test_callers_that_leave_free_their_places(service):
    stub, metrics = service
    slow = v1.EmbedRequest(inputs=inputs(*texts_of(800, longest=150)))
    calls = [stub.Embed(slow) for _ in range(1)]
    await asyncio.sleep(0.3)
    for call in calls:
        call.cancel()
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value("pequod_queue_depth", {"service": "tokenizer"}):
            await asyncio.sleep(0.01)
    assert (await stub.Embed(v1.EmbedRequest(inputs=inputs("a")), timeout=10)).dimensions == 384


async def test_beyond_the_queue_new_callers_are_sent_away_and_old_ones_end_well(stub):
    big = v1.EmbedRequest(inputs=inputs(*texts_of(1200, longest=20)))
    results = await asyncio.gather(*(stub.Embed(big) for _ in range(4)), return_exceptions=True)
    sent_away = [each for each in results if isinstance(each, grpc.aio.AioRpcError)]
    served = [each for each in results if not isinstance(each, Exception)]
    assert served
    assert sent_away
    for error in sent_away:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
        assert any(packed.Unpack(error_details_pb2.RetryInfo()) for packed in rich.details)
    assert all(len(each.embeddings) == 1200 for each in served)


async def test_a_deadline_ends_the_work(stub):
    slow = v1.EmbedRequest(inputs=inputs(*texts_of(900, longest=150)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Embed(slow, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_rank_orders_passages_sensibly(stub):
    query = v1.EmbedInput(text="Which planet is the largest?")
    request = v1.RankRequest(query=query, documents=inputs(*PLANETS), top_n=2, return_documents=True)
    reply = await stub.Rank(request)
    assert reply.documents[0].index == 1
    assert len(reply.documents) == 2
    assert reply.documents[0].text == PLANETS[1]
    assert reply.documents[0].score > reply.documents[1].score


async def test_similarity_compares_each_with_each(stub):
    reply = await stub.Similarity(v1.SimilarityRequest(left=inputs(*PLANETS), right=inputs("the sun")))
    assert (reply.rows, reply.columns, len(reply.scores)) == (3, 1, 3)
    own = await stub.Similarity(v1.SimilarityRequest(left=inputs(*PLANETS)))
    matrix = np.array(own.scores).reshape(3, 3)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


async def test_words_embed_as_the_mean_of_their_vectors(stub):
    reply = await stub.Embed(v1.EmbedRequest(model="words", inputs=inputs("horse", "cow", "horse cow")))
    horse, cow, both = vectors(reply.embeddings)
    np.testing.assert_allclose(both, (horse + cow) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (v1.EmbedRequest, "inputs"),
        (lambda: v1.EmbedRequest(inputs=inputs("a", "")), "inputs[1].text"),
        (lambda: v1.EmbedRequest(inputs=[v1.EmbedInput()]), "inputs[0]"),
        (lambda: v1.EmbedRequest(inputs=inputs("a" * (2**20 + 1))), "inputs[0].text"),
        (lambda: v1.EmbedRequest(inputs=inputs(*["a"] * 10_001)), "inputs"),
        (lambda: v1.EmbedRequest(inputs=inputs("word " * 300)), "inputs[0]"),
        (lambda: v1.EmbedRequest(inputs=[v1.EmbedInput(ids=TokenIds())]), "inputs[0].ids"),
        (lambda: v1.EmbedRequest(inputs=[v1.EmbedInput(ids=TokenIds(ids=[99999]))]), "inputs[0].ids"),
        (
            lambda: v1.EmbedRequest(inputs=inputs("a"), options=v1.EmbedOptions(dimensions=385)),
            "options.dimensions",
        ),
        (
            lambda: v1.EmbedRequest(inputs=inputs("a"), options=v1.EmbedOptions(prompt_name="query")),
            "options.prompt_name",
        ),
        (lambda: v1.EmbedRequest(inputs=inputs("a"), options=v1.EmbedOptions(pooling=9)), "options.pooling"),
        (lambda: v1.EmbedRequest(model="words", inputs=inputs("whale qqqz")), "inputs[0].text"),
        (lambda: v1.EmbedRequest(model="../x", inputs=inputs("a")), "model"),
    ],
)
async def test_a_bad_field_is_named_and_the_next_request_works(stub, request_of, field):
    code, message, violated = await refused(stub.Embed(request_of()))
    assert (code, violated) == (grpc.StatusCode.INVALID_ARGUMENT, field), message
    assert (await stub.Embed(v1.EmbedRequest(inputs=inputs("a")))).dimensions == 384


async def test_the_two_lengths_are_said_of_a_text_that_is_too_long(stub):
    _, message, _ = await refused(stub.Embed(v1.EmbedRequest(inputs=inputs("word " * 300))))
    assert "302" in message
    assert "256" in message
    options = v1.EmbedOptions(truncation=v1.TRUNCATION_END)
    reply = await stub.Embed(v1.EmbedRequest(inputs=inputs("word " * 300), options=options))
    assert (reply.embeddings[0].truncated, reply.embeddings[0].input_tokens) == (True, 256)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: v1.EmbedRequest(inputs=[v1.EmbedInput(image=Image(data=b"x"))]),
        lambda: v1.EmbedRequest(model="cl100k", inputs=inputs("a")),
        lambda: v1.EmbedRequest(inputs=inputs("a"), options=v1.EmbedOptions(precision=v1.PRECISION_FP16)),
        lambda: v1.EmbedRequest(model="words", inputs=inputs("a"), options=v1.EmbedOptions(precision=1)),
    ],
)
async def test_what_a_model_cannot_do_is_refused(stub, request_of):
    code, _, _ = await refused(stub.Embed(request_of()))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_lists_to_compare_and_rank_are_checked(stub):
    good = v1.EmbedInput(text="a")
    for call, field in (
        (stub.Similarity(v1.SimilarityRequest()), "left"),
        (stub.Similarity(v1.SimilarityRequest(left=[good] * 1001)), "left"),
        (stub.Rank(v1.RankRequest(documents=[good])), "query"),
        (stub.Rank(v1.RankRequest(query=good)), "documents"),
        (stub.Rank(v1.RankRequest(query=good, documents=inputs("a", "word " * 300))), "documents[1]"),
    ):
        assert (await refused(call))[2] == field


async def test_metrics_tell_of_queue_batches_and_model(service):
    stub, metrics = service
    await stub.Embed(v1.EmbedRequest(inputs=inputs(*PLANETS)))
    value = metrics.registry.get_sample_value
    assert value("pequod_batch_rows_count", {"service": "tokenizer"}) > 0
    assert value("pequod_queue_seconds_count", {"service": "tokenizer"}) >= 3
    assert value("pequod_compute_seconds_count", {"model": "minilm"}) >= 1
    assert value("pequod_prompt_tokens_total", {"model": "minilm"}) > 10
    assert value("pequod_model_loaded", {"model": "minilm", "version": "1"}) == 1


async def test_a_vector_of_nothing_finite_is_refused(stub):
    request = v1.NeighborsRequest(vector=v1.Vector(values=[math.nan] * 300))
    assert (await refused(stub.Neighbors(request)))[2] == "vector.values"
