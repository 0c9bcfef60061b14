"""Language models through a real server: text, chat, scores, a look inside, and every refusal."""

from __future__ import annotations

import asyncio
import json
import math

import grpc
import pytest
from safetensors.torch import load_file, save_file

from pequod.common.v1 import TokenIds
from pequod.model import v1 as model_v1
from pequod.sampler import v1
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.asking import generate
from tests.unit.serving import refused

GREEDY = v1.Sampling(temperature=0.0)


async def test_text_is_the_same_whole_and_streamed(sampler):
    request = generate(n=3, sampling=v1.Sampling(temperature=1.0, seed=7), logprobs=True, top_logprobs=2)
    whole = await sampler.Generate(request)
    parts: dict[int, list[v1.GenerateStreamResponse]] = {}
    async for part in sampler.GenerateStream(
        v1.GenerateStreamRequest.FromString(request.SerializeToString())
    ):
        parts.setdefault(part.index, []).append(part)
    for completion in whole.completions:
        given = parts[completion.index]
        assert "".join(part.text for part in given) == completion.text
        assert [i for part in given for i in part.ids] == list(completion.ids)
        assert [t for part in given for t in part.tokens] == list(completion.tokens)
        assert given[-1].finish_reason == completion.finish_reason
    assert len({completion.text for completion in whole.completions}) == 3
    assert whole.usage.model.endswith("/llama")


async def test_each_request_has_its_own_adapter(sampler, hub):
    """Three in one batch, as each one alone."""
    references = ["", f"file:{hub}/poet", f"file:{hub}/pirate"]
    requests = [generate(adapter=reference, sampling=GREEDY) for reference in references]
    alone = [(await sampler.Generate(request)).completions[0] for request in requests]
    together = await asyncio.gather(*(sampler.Generate(request) for request in requests))
    assert [reply.completions[0] for reply in together] == alone
    assert len({completion.text for completion in alone}) == 3
    tables = [await sampler.NextTokens(v1.NextTokensRequest(prompt="Call", adapter=r)) for r in references]
    assert len({table.tokens[0].logprob for table in tables}) == 3


async def test_an_adapter_is_loaded_and_let_go_like_a_model(channel, sampler, hub):
    models = model_v1.ModelServiceStub(channel)
    reference = f"file:{hub}/poet"
    loaded = await models.LoadModel(model_v1.LoadModelRequest(model=reference))
    assert loaded.model.kind == model_v1.MODEL_KIND_ADAPTER
    assert loaded.model.state == model_v1.MODEL_STATE_READY
    before = (await sampler.Generate(generate(adapter=reference, sampling=GREEDY))).completions
    await models.UnloadModel(model_v1.UnloadModelRequest(model=reference))
    again = (await sampler.Generate(generate(adapter=reference, sampling=GREEDY))).completions
    assert list(again) == list(before)


@pytest.mark.parametrize(
    ("adapter", "code", "words"),
    [
        ("poet@production", grpc.StatusCode.NOT_FOUND, "poet"),
        ("file:{hub}/nobody", grpc.StatusCode.NOT_FOUND, "nobody"),
        ("file:{hub}/chat", grpc.StatusCode.INVALID_ARGUMENT, "is a model and no adapter"),
        ("file:{hub}/foreign", grpc.StatusCode.INVALID_ARGUMENT, "changes h.0.attn.c_attn, which the model"),
        ("file:{hub}/wide", grpc.StatusCode.INVALID_ARGUMENT, "has rank 64; ranks up to 16 are served"),
    ],
)
async def test_what_is_no_adapter_for_the_model_is_refused(adapter, code, words, sampler, hub):
    found, message, _ = await refused(sampler.Generate(generate(adapter=adapter.format(hub=hub))))
    assert found == code
    assert words in message


async def test_an_adapter_is_no_model(sampler, hub):
    code, message, field = await refused(sampler.Generate(generate(model=f"file:{hub}/poet")))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "model")
    assert "is an adapter; name its model, and it in adapter" in message


async def test_a_stop_string_never_leaks(sampler):
    free = await sampler.Generate(generate(sampling=GREEDY, stopping=v1.Stopping(max_tokens=60)))
    text = free.completions[0].text
    stop = text[20:24]
    begin = text.find(stop)
    request = v1.GenerateStreamRequest(
        prompt="Call me Ishmael.", sampling=GREEDY, stopping=v1.Stopping(max_tokens=60, stop=[stop])
    )
    streamed = [part async for part in sampler.GenerateStream(request)]
    assert "".join(part.text for part in streamed) == text[:begin]
    assert streamed[-1].stop_matched == stop


async def test_the_window_bounds_a_completion(sampler):
    reply = await sampler.Generate(generate(prompt_ids=TokenIds(ids=[5] * 250), sampling=GREEDY))
    (completion,) = reply.completions
    assert len(completion.ids) <= tiny.WINDOW - 250
    asked = v1.Stopping(max_tokens=7)
    call = sampler.Generate(generate(prompt_ids=TokenIds(ids=[5] * 250), stopping=asked))
    code, message, field = await refused(call)
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "stopping.max_tokens")
    assert "1..6, got 7: the prompt has 250 tokens and the model's context window is 256" in message
    slid = await sampler.Generate(
        generate(
            prompt_ids=TokenIds(ids=[5] * 300),
            overflow=v1.CONTEXT_OVERFLOW_SLIDE,
            stopping=v1.Stopping(max_tokens=200, ignore_eos=True),
        )
    )
    assert len(slid.completions[0].ids) == 200


async def test_scores_and_tables(sampler):
    scored = await sampler.Score(v1.ScoreRequest(text="Call me Ishmael.", per_token=True, top_logprobs=1))
    assert scored.scored_tokens == len(scored.tokens) - 1
    assert scored.tokens[0].token.logprob == 0.0
    assert scored.log_likelihood == pytest.approx(sum(t.token.logprob for t in scored.tokens))
    table = await sampler.NextTokens(v1.NextTokensRequest(prompt="Call me", limit=400))
    assert table.candidates == len(table.tokens) == tiny.VOCABULARY
    assert sum(row.probability for row in table.tokens) == pytest.approx(1.0)
    first = await sampler.Generate(generate(prompt="Call me", sampling=GREEDY, logprobs=True))
    assert first.completions[0].ids[0] == table.tokens[0].id
    assert first.completions[0].tokens[0].token.logprob == pytest.approx(table.tokens[0].logprob)


async def test_prompt_logprobs_come_once_with_the_prompt(sampler):
    request = generate(prompt_logprobs=True, n=2, stopping=v1.Stopping(max_tokens=3))
    reply = await sampler.Generate(request)
    scored = await sampler.Score(v1.ScoreRequest(text="Call me Ishmael.", per_token=True))
    assert [t.token for t in reply.prompt_tokens] == [t.token for t in scored.tokens]


async def test_best_of_returns_the_likeliest(sampler):
    sampling = v1.Sampling(temperature=1.0, seed=3)
    best = await sampler.Generate(generate(n=1, best_of=6, sampling=sampling))
    every = await sampler.Generate(generate(n=6, sampling=sampling))
    likeliest = max(every.completions, key=lambda completion: completion.cumulative_logprob)
    assert best.completions[0].text == likeliest.text


async def test_chat_goes_through_the_models_template(sampler, hub):
    conversation = v1.ChatMessages(
        messages=[
            v1.ChatMessage(role="system", content="Be brief."),
            v1.ChatMessage(role="user", content="Who are you?"),
        ]
    )
    model = f"file:{hub}/chat"
    chat = await sampler.Generate(v1.GenerateRequest(model=model, chat=conversation, sampling=GREEDY))
    rendered = "<system>Be brief.\n<user>Who are you?\n<assistant>"
    plain = await sampler.Generate(v1.GenerateRequest(model=model, prompt=rendered, sampling=GREEDY))
    assert chat.completions[0].ids == plain.completions[0].ids
    late = v1.ChatMessages(
        messages=[
            v1.ChatMessage(role="user", content="Hi"),
            v1.ChatMessage(role="system", content="Be brief."),
        ]
    )
    code, message, field = await refused(sampler.Generate(v1.GenerateRequest(model=model, chat=late)))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "chat")
    assert "system comes first" in message


async def test_a_look_inside(sampler):
    request = v1.InspectRequest(prompt="Call me Ishmael.", attention=True, embeddings=True, top=3)
    seen = await sampler.Inspect(request)
    count = len(seen.tokens)
    assert b"".join(token.piece for token in seen.tokens) == b"Call me Ishmael."
    assert len(seen.embeddings) == seen.dimensions * count == 64 * count
    assert [layer.layer for layer in seen.layers] == [0, 1, 2]
    assert all(len(layer.residual_norms) == count for layer in seen.layers)
    assert [len(layer.heads) for layer in seen.layers] == [0, 4, 4]
    for head in seen.layers[2].heads:
        for place in range(count):
            row = head.weights[place * count : (place + 1) * count]
            assert sum(row) == pytest.approx(1.0, abs=1e-5)
            assert not any(row[place + 1 :]), "a position saw the future"
    table = await sampler.NextTokens(v1.NextTokensRequest(prompt="Call me Ishmael.", limit=3))
    assert [t.id for t in seen.next] == [t.id for t in table.tokens]
    assert seen.layers[-1].readout == seen.next
    assert seen.next[0].logprob == pytest.approx(table.tokens[0].logprob, abs=1e-3)
    part = await sampler.Inspect(
        v1.InspectRequest(prompt="Call me Ishmael.", attention=True, layers=[2], positions=[1, 3])
    )
    (layer,) = part.layers
    expected = seen.layers[2].heads[0].weights
    rows = [*expected[count : 2 * count], *expected[3 * count : 4 * count]]
    assert layer.heads[0].weights == pytest.approx(rows, abs=1e-6)
    assert not part.embeddings


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"layers": [3]}, "layers"),
        ({"positions": [1]}, "positions"),
        ({"positions": [90], "attention": True}, "positions"),
        ({"prompt_ids": TokenIds(ids=[400])}, "prompt_ids"),
        ({"prompt_ids": TokenIds(ids=[1] * 257)}, "prompt_ids"),
        ({"top": 51}, "top"),
    ],
)
async def test_looks_that_cannot_be(sampler, fields, field):
    request = v1.InspectRequest(**({"prompt": "Call me"} | fields))
    code, _, named = await refused(sampler.Inspect(request))
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("fields", "code", "part"),
    [
        ({"ngram": v1.NgramOptions(order=2)}, grpc.StatusCode.INVALID_ARGUMENT, "n-gram"),
        (
            {"chat": v1.ChatMessages(messages=[v1.ChatMessage(role="user", content="Hi")])},
            grpc.StatusCode.FAILED_PRECONDITION,
            "no chat template",
        ),
        (
            {"chat": v1.ChatMessages(messages=[v1.ChatMessage(role="poet", content="Hi")])},
            grpc.StatusCode.INVALID_ARGUMENT,
            "'poet'",
        ),
        ({"chat": v1.ChatMessages()}, grpc.StatusCode.INVALID_ARGUMENT, "chat.messages"),
        ({"prompt_ids": TokenIds(ids=[3] * 256)}, grpc.StatusCode.INVALID_ARGUMENT, "no room"),
        ({"prompt_ids": TokenIds(ids=[4000])}, grpc.StatusCode.INVALID_ARGUMENT, "0..399"),
        ({"stopping": v1.Stopping(stop=["a"] * 200)}, grpc.StatusCode.INVALID_ARGUMENT, "stopping.stop"),
    ],
)
async def test_requests_that_cannot_be(sampler, fields, code, part):
    refusal, message, _ = await refused(sampler.Generate(generate(**fields)))
    assert refusal == code
    assert part in message


def _without_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def _cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _misshapen(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.self_attn.k_proj.weight"] = tensors["model.layers.1.self_attn.k_proj.weight"][:8]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _lacking(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _unknown(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "hyena"}))


def _unfit(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 3}))


@pytest.mark.parametrize(
    ("harm", "part"),
    [
        (_unfit, "cannot be loaded"),
        (_without_tokenizer, "tokenizer.json"),
        (_cut_short, "model.safetensors"),
        (_misshapen, "k_proj"),
        (_lacking, "lack model.norm.weight"),
        (_unknown, "'hyena'"),
    ],
)
async def test_damaged_directories_are_refused_by_name(sampler, hub, harm, part, request):
    folder = tiny.write("llama", hub / request.node.callspec.id)
    harm(folder)
    code, message, _ = await refused(sampler.Generate(generate(model=f"file:{folder}")))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert part in message
    assert "Traceback" not in message
    alive = await sampler.Generate(generate(stopping=v1.Stopping(max_tokens=2)))
    assert alive.completions[0].ids


async def test_who_leaves_frees_the_slot_at_once(service, sampler):
    metrics = service[1]
    endless = v1.GenerateStreamRequest(
        prompt="Call me",
        overflow=v1.CONTEXT_OVERFLOW_SLIDE,
        stopping=v1.Stopping(max_tokens=100_000, ignore_eos=True),
    )
    calls = [sampler.GenerateStream(endless) for _ in range(4)]
    for call in calls:
        await call.read()
    assert metrics.sequences_running._value.get() == 4
    for call in calls:
        call.cancel()
    reply = await asyncio.wait_for(sampler.Generate(generate(stopping=v1.Stopping(max_tokens=5))), 30)
    assert reply.completions[0].ids
    async with asyncio.timeout(10):
        while metrics.sequences_running._value.get():
            await asyncio.sleep(0.01)
    used = metrics.kv_cache_used_ratio.labels(reply.usage.model)._value.get()
    assert math.isclose(used, 0.0)
