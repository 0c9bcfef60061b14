"""The sampler through a real server: every RPC, every refusal, the same text alone and in company."""

import asyncio
import math

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from pequod.common.v1 import TokenIds, Usage
from pequod.model.v1 import (
    EXPORT_FORMAT_ONNX,
    ExportModelRequest,
    GetModelRequest,
    ListModelsRequest,
    ModelServiceStub,
)
from pequod.sampler import v1
from services.common.metrics import Metrics
from services.common.rpc.status import DETAILS_KEY
from services.common.store.settings import StoreSettings
from services.finetune.recipes import infinigram as infinigram_recipe
from services.finetune.recipes import ngram as ngram_recipe
from services.finetune.recipes.version import Corpus
from services.sampler.__main__ import SamplerProcess
from services.sampler.replies import UNKNOWN_ID
from services.sampler.settings import SamplerSettings
from tests.unit.sampler.ngram_models import OPENING
from tests.unit.serving import refused, serving

CHARACTERS = "".join(sorted(set(OPENING)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A store with a counted and an unbounded model of the opening, and Shannon's of ABRACADABRA."""
    store = tmp_path_factory.mktemp("models")
    ngram_recipe.train(Corpus([OPENING]), store / "opening" / "1", order=4, alphabet="text")
    infinigram_recipe.train(Corpus([OPENING]), store / "unbounded" / "1", alphabet="text")
    ngram_recipe.train(Corpus(["abracadabra"]), store / "abra" / "1", order=3)
    return store


@pytest.fixture
async def sampler(models, tmp_path):
    """A stub on a running service, its channel and its metrics."""
    metrics = Metrics("sampler")
    stores = StoreSettings(
        shipped=models, user=str(tmp_path / "user"), cache=tmp_path / "cache", load_wait=30
    )
    settings = SamplerSettings(
        default_model="opening",
        preload=("opening", "unbounded", "no-such-model"),
        max_tokens=100_000,
        max_running=4,
        max_waiting=32,
    )
    process = SamplerProcess(settings, stores, metrics)
    async with serving(process, metrics) as channel:
        yield v1.SamplerServiceStub(channel), channel, metrics


@pytest.fixture
def stub(sampler):
    return sampler[0]


def generate(kind=v1.GenerateRequest, **fields):
    """A request for 40 symbols after "the ", seed 7, unless ``fields`` say otherwise."""
    defaults = {"prompt": "the ", "sampling": v1.Sampling(seed=7), "stopping": v1.Stopping(max_tokens=40)}
    if {"prompt_ids", "chat"} & fields.keys():
        del defaults["prompt"]
    return kind(**{**defaults, **fields})


def stream(**fields):
    return generate(v1.GenerateStreamRequest, **fields)


async def test_generate_answers_with_text_ids_seed_and_usage(stub):
    call = stub.Generate(generate())
    reply = await call
    (completion,) = reply.completions
    assert len(completion.text) == len(completion.ids) == 40
    assert "".join(CHARACTERS[i] for i in completion.ids) == completion.text
    assert completion.finish_reason == v1.FINISH_REASON_LENGTH
    assert completion.cumulative_logprob < 0
    assert reply.seed == 7
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.batch_rows) == (4, 40, 1)
    assert (reply.usage.model, reply.usage.version) == ("opening", "1")
    assert dict(await call.initial_metadata())["x-accepted"] == "1"
    trailing = dict(await call.trailing_metadata())
    assert Usage.FromString(trailing["pequod-usage-bin"]) == reply.usage


async def test_a_drawn_seed_is_returned_and_gives_the_same_text(stub):
    first, other = [await stub.Generate(generate(sampling=v1.Sampling())) for _ in range(2)]
    assert first.seed != other.seed
    again = await stub.Generate(generate(sampling=v1.Sampling(seed=first.seed)))
    assert again.completions[0].text == first.completions[0].text


async def test_the_same_seed_gives_the_same_text_among_strangers(stub):
    alone = (await stub.Generate(generate(stopping=v1.Stopping(max_tokens=3000)))).completions[0].text
    calls = [
        stub.Generate(generate(sampling=v1.Sampling(seed=7 + i // 2), stopping=v1.Stopping(max_tokens=3000)))
        for i in range(16)
    ]
    texts = [reply.completions[0].text for reply in await asyncio.gather(*calls)]
    assert texts[0] == texts[1] == alone
    assert len(set(texts)) == 8


async def test_a_stream_gives_the_same_text_in_pieces(stub):
    wanted = {"stopping": v1.Stopping(max_tokens=30_000), "n": 2}
    whole = await stub.Generate(generate(**wanted))
    messages = [message async for message in stub.GenerateStream(stream(**wanted))]
    for index in (0, 1):
        mine = [message for message in messages if message.index == index]
        assert "".join(message.text for message in mine) == whole.completions[index].text
        assert [m.finish_reason for m in mine][-1] == v1.FINISH_REASON_LENGTH
        assert not any(m.finish_reason for m in mine[:-1])
    assert [message.seed for message in messages] == [7] + [0] * (len(messages) - 1)
    assert [message.HasField("usage") for message in messages] == [False] * (len(messages) - 1) + [True]
    assert messages[-1].usage.output_tokens == 60_000


async def test_n_completions_differ_and_the_likeliest_of_best_of_return(stub):
    eight = await stub.Generate(generate(n=8))
    assert len({completion.text for completion in eight.completions}) == 8
    best = await stub.Generate(generate(n=2, best_of=8))
    ranked = sorted((c.cumulative_logprob for c in eight.completions), reverse=True)
    assert [c.cumulative_logprob for c in best.completions] == pytest.approx(ranked[:2])
    assert [c.index for c in best.completions] == [0, 1]
    assert best.usage.output_tokens == 8 * 40


async def test_stop_strings_and_ids(stub):
    greedy = {"prompt": "Call me Ishma", "sampling": v1.Sampling(temperature=0), "model": "unbounded"}
    stopped = (
        await stub.Generate(generate(stopping=v1.Stopping(stop=["years", "xyz"]), **greedy))
    ).completions[0]
    assert (stopped.text, stopped.stop_matched) == ("el. Some ", "years")
    assert stopped.finish_reason == v1.FINISH_REASON_STOP
    dot = CHARACTERS.index(".")
    by_id = (await stub.Generate(generate(stopping=v1.Stopping(stop_ids=[dot]), **greedy))).completions[0]
    assert (by_id.text, by_id.stop_matched) == ("el", ".")


async def test_a_stream_sends_nothing_empty_while_text_is_held_back(stub):
    """Every character may begin a stop string that never comes, so the text stays back to the end."""
    stops = [character + "\N{SNOWMAN}" for character in "etaoinshrd lumcy"]
    wanted = stream(stopping=v1.Stopping(max_tokens=20_000, stop=stops))
    messages = [message async for message in stub.GenerateStream(wanted)]
    assert all(message.text or message.finish_reason for message in messages)
    assert sum(len(message.text) for message in messages) == 20_000


async def test_echo_puts_the_prompt_first_as_the_model_reads_it(stub):
    plain = await stub.Generate(generate(prompt="abra-ca", model="abra"))
    echoed = await stub.Generate(generate(prompt="abra-ca", model="abra", echo=True, n=2))
    assert echoed.completions[0].text == "ABRA CA" + plain.completions[0].text
    messages = [m async for m in stub.GenerateStream(stream(prompt="abra-ca", model="abra", echo=True, n=2))]
    for index in (0, 1):
        assert "".join(m.text for m in messages if m.index == index) == echoed.completions[index].text


async def test_ids_may_take_the_prompts_place(stub):
    ids = [CHARACTERS.index(c) for c in "the "]
    by_ids = await stub.Generate(generate(prompt_ids=TokenIds(ids=ids), echo=True))
    by_text = await stub.Generate(generate(echo=True))
    assert by_ids.completions[0].text == by_text.completions[0].text


async def test_an_empty_prompt_begins_from_nothing(stub):
    assert len((await stub.Generate(generate(prompt=""))).completions[0].text) == 40
    assert len((await stub.Generate(generate(prompt_ids=TokenIds()))).completions[0].text) == 40


async def test_logprobs_of_text_and_prompt(stub):
    wanted = {"logprobs": True, "prompt_logprobs": True, "top_logprobs": 2, "prompt": "th\N{SNOWMAN}e"}
    reply = await stub.Generate(generate(**wanted))
    (completion,) = reply.completions
    assert [t.token.id for t in completion.tokens] == list(completion.ids)
    assert sum(t.token.logprob for t in completion.tokens) == pytest.approx(completion.cumulative_logprob)
    assert all(1 <= len(t.top) <= 2 for t in completion.tokens)
    assert [t.token.text for t in reply.prompt_tokens] == list("th\N{SNOWMAN}e")
    snowman = reply.prompt_tokens[2].token
    assert (snowman.id, snowman.logprob) == (UNKNOWN_ID, -math.inf)
    assert snowman.piece == "\N{SNOWMAN}".encode()
    messages = [m async for m in stub.GenerateStream(stream(n=3, **wanted))]
    assert list(messages[0].prompt_tokens) == list(reply.prompt_tokens)
    assert not any(m.prompt_tokens for m in messages[1:])
    assert "".join(m.text for m in messages if m.index == 0) == completion.text


async def test_a_long_prompt_is_scored_before_the_stream_begins(stub):
    prompt = (OPENING * 100)[:20_000]
    messages = [m async for m in stub.GenerateStream(stream(prompt=prompt, prompt_logprobs=True, n=3))]
    assert len(messages[0].prompt_tokens) == 20_000
    assert sorted(m.index for m in messages if m.finish_reason) == [0, 1, 2]


async def test_the_table_of_next_tokens(stub):
    reply = await stub.NextTokens(
        v1.NextTokensRequest(model="abra", prompt="A", ngram=v1.NgramOptions(order=2), limit=2)
    )
    assert [(row.text, row.count) for row in reply.tokens] == [("B", 2), ("C", 1)]
    assert reply.tokens[0].probability == pytest.approx(0.5)
    assert reply.tokens[0].logprob == pytest.approx(math.log(0.5))
    assert (reply.candidates, reply.context_used, reply.context_count) == (3, 1, 5)
    assert reply.entropy_bits == pytest.approx(1.5)
    assert (reply.usage.model, reply.usage.input_tokens, reply.usage.output_tokens) == ("abra", 1, 0)


async def test_score_sums_and_counts(stub):
    order = v1.NgramOptions(order=2)
    reply = await stub.Score(v1.ScoreRequest(model="abra", text="abr", per_token=True, ngram=order))
    assert reply.log_likelihood == pytest.approx(math.log(5 / 22))
    assert reply.perplexity == pytest.approx((22 / 5) ** (1 / 3))
    assert reply.bits_per_token == pytest.approx(math.log2(22 / 5) / 3)
    assert (reply.scored_tokens, reply.impossible_tokens) == (3, 0)
    assert [t.token.text for t in reply.tokens] == list("ABR")
    assert [t.context_used for t in reply.tokens] == [0, 1, 1]


async def test_an_impossible_text_is_infinitely_perplexing(stub):
    reply = await stub.Score(v1.ScoreRequest(model="abra", text="abz"))
    assert (reply.log_likelihood, reply.perplexity, reply.bits_per_token) == (-math.inf, math.inf, math.inf)
    assert (reply.scored_tokens, reply.impossible_tokens) == (3, 1)
    assert not reply.tokens
    smooth = v1.NgramOptions(smoothing=v1.SMOOTHING_KNESER_NEY)
    smoothed = await stub.Score(v1.ScoreRequest(model="abra", text="abz", ngram=smooth))
    assert math.isfinite(smoothed.perplexity)


async def test_inspect_says_why_it_cannot(stub):
    code, message, _ = await refused(stub.Inspect(v1.InspectRequest(prompt="the")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "opening" in message


BAD_FIELDS = [
    ({"sampling": v1.Sampling(temperature=-0.1)}, "sampling.temperature", "-0.1"),
    ({"sampling": v1.Sampling(temperature=math.nan)}, "sampling.temperature", "nan"),
    ({"sampling": v1.Sampling(temperature=math.inf)}, "sampling.temperature", "inf"),
    ({"sampling": v1.Sampling(temperature=100.5)}, "sampling.temperature", "0..100"),
    ({"sampling": v1.Sampling(top_p=0)}, "sampling.top_p", "(0, 1]"),
    ({"sampling": v1.Sampling(top_p=1.01)}, "sampling.top_p", "1.01"),
    ({"sampling": v1.Sampling(top_p=math.nan)}, "sampling.top_p", "nan"),
    ({"sampling": v1.Sampling(min_p=1)}, "sampling.min_p", "[0, 1)"),
    ({"sampling": v1.Sampling(repetition_penalty=0)}, "sampling.repetition_penalty", "(0, 10]"),
    ({"sampling": v1.Sampling(presence_penalty=-2.1)}, "sampling.presence_penalty", "-2..2"),
    ({"sampling": v1.Sampling(frequency_penalty=math.inf)}, "sampling.frequency_penalty", "inf"),
    ({"sampling": v1.Sampling(logit_bias={3: 101})}, "sampling.logit_bias[3]", "101"),
    ({"sampling": v1.Sampling(logit_bias={999: 1})}, "sampling.logit_bias", "999"),
    ({"stopping": v1.Stopping(max_tokens=0)}, "stopping.max_tokens", "1..100000"),
    ({"stopping": v1.Stopping(max_tokens=100_001)}, "stopping.max_tokens", "100001"),
    ({"stopping": v1.Stopping(max_tokens=5, min_tokens=6)}, "stopping.min_tokens", "0..5"),
    ({"stopping": v1.Stopping(stop=[""])}, "stopping.stop[0]", "1..256"),
    ({"stopping": v1.Stopping(stop=["a", "b" * 257])}, "stopping.stop[1]", "257"),
    ({"stopping": v1.Stopping(stop=["a"] * 17)}, "stopping.stop", "17"),
    ({"stopping": v1.Stopping(stop_ids=[0] * 65)}, "stopping.stop_ids", "65"),
    ({"stopping": v1.Stopping(stop_ids=[999])}, "stopping.stop_ids", "999"),
    ({"ngram": v1.NgramOptions(order=0)}, "ngram.order", "got 0"),
    ({"ngram": v1.NgramOptions(order=5)}, "ngram.order", "1..4"),
    ({"ngram": v1.NgramOptions(order=2**31), "model": "unbounded"}, "ngram.order", str(len(OPENING) + 1)),
    ({"ngram": v1.NgramOptions(smoothing=9)}, "ngram.smoothing", "9"),
    ({"n": 17}, "n", "1..16"),
    ({"n": 4, "best_of": 3}, "best_of", "4..32"),
    ({"best_of": 33}, "best_of", "33"),
    ({"top_logprobs": 51, "logprobs": True}, "top_logprobs", "0..50"),
    ({"top_logprobs": 5}, "top_logprobs", "logprobs"),
    ({"logprobs": True, "n": 16, "stopping": v1.Stopping(max_tokens=100_000)}, "logprobs", "100000"),
    ({"prompt": "a" * 100_001, "prompt_logprobs": True}, "prompt_logprobs", "100001"),
    ({"prompt": "a" * (2**20 + 1)}, "prompt", "1048576"),
    ({"prompt": "a" * (10 * 2**20)}, "prompt", "10485760"),
    ({"prompt_ids": TokenIds(ids=[0] * (2**18 + 1))}, "prompt_ids", "262144"),
    ({"prompt_ids": TokenIds(ids=[0, 4_000_000_000])}, "prompt_ids", "4000000000"),
    ({"overflow": 9}, "overflow", "9"),
]


@pytest.mark.parametrize(("fields", "field", "part"), BAD_FIELDS, ids=lambda value: str(value)[:40])
async def test_a_bad_field_is_named_with_value_and_limit(stub, fields, field, part):
    code, message, violated = await refused(stub.Generate(generate(**fields)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert violated == field
    assert part in message
    assert len((await stub.Generate(generate())).completions[0].text) == 40


async def test_an_input_is_required(stub):
    code, _, field = await refused(stub.Generate(v1.GenerateRequest()))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "prompt")
    for request in (v1.ScoreRequest(), v1.ScoreRequest(text="")):
        assert (await refused(stub.Score(request)))[2] == "text"
    assert (await refused(stub.Score(v1.ScoreRequest(text_ids=TokenIds()))))[2] == "text_ids"


async def test_what_other_models_can_do_is_refused_by_name(stub):
    chat = v1.ChatMessages(messages=[v1.ChatMessage(role="user", content="hi")])
    for fields, part in [
        ({"chat": chat}, "chat"),
        ({"structured": v1.StructuredOutput(regex="a+")}, "structured"),
        ({"adapter": "mine"}, "adapter"),
        ({"model": "unbounded", "ngram": v1.NgramOptions(smoothing=v1.SMOOTHING_KNESER_NEY)}, "Kneser-Ney"),
    ]:
        code, message, _ = await refused(stub.Generate(generate(**fields)))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert part in message


async def test_streams_tables_and_scores_check_too(stub):
    call = stub.GenerateStream(stream(n=2, best_of=3))
    assert (await refused(call.read()))[2] == "best_of"
    bad_limit = v1.NextTokensRequest(prompt="a", limit=1001)
    assert (await refused(stub.NextTokens(bad_limit)))[2] == "limit"
    bad_temperature = v1.NextTokensRequest(prompt="a", sampling=v1.Sampling(temperature=math.nan))
    assert (await refused(stub.NextTokens(bad_temperature)))[2] == "sampling.temperature"
    too_many = v1.ScoreRequest(text="a" * 20_000, per_token=True, top_logprobs=50)
    assert (await refused(stub.Score(too_many)))[2] == "top_logprobs"
    unused = v1.ScoreRequest(text="a", top_logprobs=5)
    assert (await refused(stub.Score(unused)))[2] == "top_logprobs"


async def test_an_unknown_model_is_not_found_with_the_close_names(stub):
    code, message, _ = await refused(stub.Generate(generate(model="openning")))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "opening" in message


async def test_a_client_that_leaves_frees_its_place(sampler):
    stub, _, metrics = sampler
    forever = v1.Stopping(max_tokens=100_000)
    calls = [stub.GenerateStream(stream(stopping=forever, n=16)) for _ in range(2)]
    for call in calls:
        await call.read()
        call.cancel()
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value("pequod_sequences_running", {"service": "sampler"}):
            await asyncio.sleep(0.005)
    assert metrics.registry.get_sample_value("pequod_queue_depth", {"service": "sampler"}) == 0
    assert len((await stub.Generate(generate())).completions[0].text) == 40


async def test_a_deadline_ends_the_work(sampler):
    stub, _, metrics = sampler
    long = v1.ScoreRequest(model="unbounded", text=(OPENING[::-1] * 2500)[: 2**20])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Score(long, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value("pequod_sequences_running", {"service": "sampler"}):
            await asyncio.sleep(0.005)


async def test_beyond_the_queue_callers_are_sent_away_at_once(stub):
    wanted = generate(n=16, best_of=32, stopping=v1.Stopping(max_tokens=20_000))
    calls = [stub.Generate(wanted) for _ in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    sent_away = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
    assert 0 < len(sent_away) < 4
    for error in sent_away:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "x-accepted" not in dict(error.initial_metadata())
        rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
        retry = error_details_pb2.RetryInfo()
        assert any(packed.Unpack(retry) for packed in rich.details)
        assert retry.retry_delay.ToTimedelta().total_seconds() > 0


async def test_models_are_listed_with_where_they_stand(sampler):
    _, channel, _ = sampler
    models = ModelServiceStub(channel)
    listed = await models.ListModels(ListModelsRequest())
    assert [model.name for model in listed.models] == ["abra", "opening", "unbounded"]
    model = (await models.GetModel(GetModelRequest(model="opening"))).model
    assert (model.family, model.service) == ("ngram", "sampler")
    assert model.config["order"] == 4
    assert model.memory_bytes > 0


async def test_a_counted_model_is_exported_and_an_unbounded_one_is_not(sampler):
    _, channel, _ = sampler
    models = ModelServiceStub(channel)
    request = ExportModelRequest(model="abra", format=EXPORT_FORMAT_ONNX)
    steps = [message async for message in models.ExportModel(request)]
    assert [parity.output for parity in steps[-1].parity] == ["log_probabilities"]
    assert steps[-1].parity[0].max_abs_error < 1e-5
    refusal = models.ExportModel(ExportModelRequest(model="unbounded", format=EXPORT_FORMAT_ONNX))
    code, message, _ = await refused(refusal.read())
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "infinigram" in message
