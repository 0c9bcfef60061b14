"""Load on the token and word RPCs: their queue, deadlines, callers who leave, what is reported of work."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from pequod.common.v1 import TokenIds, Usage
from pequod.tokenizer import v1
from services.common.metrics import Metrics
from services.common.rpc.status import DETAILS_KEY
from services.common.store import Kind, Manifest, describe_files
from services.common.store.settings import StoreSettings
from services.tokenizer.__main__ import TokenizerProcess
from services.tokenizer.settings import TokenizerSettings
from tests.unit.common.gate import Gate
from tests.unit.serving import refused, serving

ROOT = Path(__file__).parents[3]
WAITING = 3


class Service:
    """A running service with one worker, which a test can hold."""

    def __init__(self, process, metrics, channel):
        self.process = process
        self.metrics = metrics
        self.tokens = v1.TokenizerServiceStub(channel)
        self.words = v1.EmbeddingServiceStub(channel)

    @asynccontextmanager
    async def busy(self):
        """The worker does one thing until the end of the block."""
        gate = Gate(shut=True)
        held = asyncio.ensure_future(self.process._work.run(lambda: gate([1]), None))
        await gate.until_entered()
        try:
            yield
        finally:
            gate.open()
            await held

    def metric(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels or {"service": "tokenizer"}) or 0.0

    async def until_waiting(self, count):
        async with asyncio.timeout(30):
            while self.metric("pequod_queue_depth") != count:
                await asyncio.sleep(0)


def broken_model(store):
    folder = store / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{")
    files = describe_files(folder)
    manifest = Manifest(name="broken", version="1", kind=Kind.LANGUAGE_MODEL, family="llama", files=files)
    (folder / "model.json").write_text(manifest.to_json())


@pytest.fixture
async def service(tmp_path):
    broken_model(tmp_path / "user")
    metrics = Metrics("tokenizer")
    stores = StoreSettings(
        shipped=ROOT / "models", user=str(tmp_path / "user"), cache=tmp_path / "cache", load_wait=30
    )
    settings = TokenizerSettings(default_encoding="gpt2", preload=("gpt2", "words"), max_work=WAITING)
    process = TokenizerProcess(settings, stores, metrics, threads=1)
    async with serving(process, metrics) as channel:
        yield Service(process, metrics, channel)


def count(service, text="Call me Ishmael.", **options):
    return service.tokens.CountTokens(v1.CountTokensRequest(texts=[text]), **options)


CALLS = {
    "Tokenize": lambda s, **o: s.tokens.Tokenize(v1.TokenizeRequest(texts=["Call me Ishmael."]), **o),
    "CountTokens": count,
    "Detokenize": lambda s, **o: s.tokens.Detokenize(
        v1.DetokenizeRequest(sequences=[TokenIds(ids=[1, 2]), TokenIds(ids=[3])]), **o
    ),
    "Neighbors": lambda s, **o: s.words.Neighbors(v1.NeighborsRequest(word="whale"), **o),
    "Analogy": lambda s, **o: s.words.Analogy(v1.AnalogyRequest(positive=["whale"]), **o),
    "WordSimilarity": lambda s, **o: s.words.WordSimilarity(
        v1.WordSimilarityRequest(pairs=[v1.WordPair(first="whale", second="sea")]), **o
    ),
}
EVERY_CALL = pytest.mark.parametrize("ask", CALLS.values(), ids=CALLS)


@EVERY_CALL
async def test_work_is_accepted_and_its_usage_stands_in_the_trailer_too(service, ask):
    call = ask(service)
    reply = await call
    assert dict(await call.initial_metadata())["x-accepted"] == "1"
    assert Usage.FromString(dict(await call.trailing_metadata())["pequod-usage-bin"]) == reply.usage
    assert reply.usage.batch_rows == 1


@pytest.mark.parametrize(
    ("name", "model", "read"),
    [
        ("Tokenize", "gpt2", 6),
        ("CountTokens", "gpt2", 6),
        ("Detokenize", "gpt2", 3),
        ("Analogy", "words", 0),
    ],
)
async def test_usage_names_the_model_and_counts_its_tokens(service, name, model, read):
    usage = (await CALLS[name](service)).usage
    assert (usage.model, usage.version, usage.input_tokens) == (model, "1", read)


@pytest.mark.parametrize("name", ["CountTokens", "Neighbors"])
async def test_a_deadline_ends_the_wait_and_frees_the_place(service, name):
    async with service.busy():
        call = CALLS[name](service, timeout=1)
        await service.until_waiting(1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await service.until_waiting(0)


@EVERY_CALL
async def test_a_caller_who_leaves_frees_the_place(service, ask):
    async with service.busy():
        call = ask(service)
        await service.until_waiting(1)
        call.cancel()
        await service.until_waiting(0)
    assert (await count(service)).total == 6


async def test_beyond_the_queue_callers_are_told_when_to_come_back(service):
    async with service.busy():
        waiting = [asyncio.ensure_future(count(service)) for _ in range(WAITING)]
        await service.until_waiting(WAITING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await count(service)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    rich = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())[DETAILS_KEY])
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    assert any(packed.Unpack(retry) for packed in rich.details)
    assert any(packed.Unpack(info) for packed in rich.details)
    assert (info.reason, retry.retry_delay.ToTimedelta().total_seconds() > 0) == ("OVERLOADED", True)
    assert [reply.total for reply in await asyncio.gather(*waiting)] == [6] * WAITING


async def test_texts_are_searched_for_special_tokens_where_they_hold_nobody_up(service):
    special = v1.SpecialTokenOptions(spelt=v1.SPECIAL_TOKENS_REFUSE)
    request = v1.CountTokensRequest(texts=["a", "<|endoftext|>"], special=special)
    async with service.busy():
        call = service.tokens.CountTokens(request)
        await service.until_waiting(1)
    code, message, field = await refused(call)
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "texts[1]")
    assert "<|endoftext|>" in message


async def test_encodings_are_listed_while_the_worker_is_busy(service):
    async with service.busy():
        reply = await service.tokens.ListEncodings(v1.ListEncodingsRequest())
    assert [encoding.name for encoding in reply.encodings] == ["cl100k", "gpt2"]


async def test_a_model_with_a_broken_tokenizer_is_refused_and_named(service):
    request = v1.CountTokensRequest(model="broken", texts=["a"])
    code, message, _ = await refused(service.tokens.CountTokens(request))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "broken:1" in message
    assert "tokenizer.json cannot be read" in message


async def test_metrics_tell_of_calls_queue_and_models(service):
    await count(service)
    assert service.metric("pequod_queue_seconds_count") == 1
    assert service.metric("pequod_batch_rows_count") == 1
    labels = {"service": "tokenizer", "method": "/pequod.tokenizer.v1.TokenizerService/CountTokens"}
    assert service.metric("pequod_requests_total", **labels, code="OK") == 1
    assert service.metric("pequod_model_loaded", model="gpt2", version="1") == 1
    assert service.metric("pequod_model_loaded", model="cl100k", version="1") == 0
