"""The door under /v1: what becomes of each field, and of the answer."""

import base64
import json

import numpy as np
import pytest

from pequod.sampler import v1
from pequod.tokenizer.v1 import (
    VECTOR_FORMAT_FLOAT32_BYTES,
    Embedding,
    EmbedRequest,
    EmbedResponse,
    RankedDocument,
    RankRequest,
    RankResponse,
)
from tests.unit.gateway.openai_parts import CHAT, COMPLETIONS, COUNTED, EMBEDDINGS, HELLO, USAGE, events

EMBED = "/pequod.tokenizer.v1.EmbeddingService/Embed"
RANK = "/pequod.tokenizer.v1.EmbeddingService/Rank"


async def test_a_conversation_is_answered(door, sampler):
    reply = await door.http.post(CHAT, json=HELLO, headers={"x-request-id": "abc"})
    assert reply.status_code == 200
    body = reply.json()
    assert (body["id"], body["object"], body["model"]) == ("chatcmpl-abc", "chat.completion", "m")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": " there", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (body["usage"], body["system_fingerprint"], body["seed"]) == (COUNTED, "m:4", 7)
    messages = v1.ChatMessages(messages=[v1.ChatMessage(role="user", content="hello")])
    assert sampler.seen == [v1.GenerateRequest(model="m", chat=messages, stopping=v1.Stopping())]


async def test_every_field_of_a_conversation_reaches_the_sampler(door, sampler):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {
        "model": "m@production",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
        ],
        **{"n": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -1},
        **{"presence_penalty": 0.2, "frequency_penalty": -0.2, "repetition_penalty": 1.1},
        **{"max_completion_tokens": 5, "max_tokens": 9, "min_tokens": 2, "stop": ["\n", "END"]},
        **{"logit_bias": {"12": -100}, "logprobs": True, "top_logprobs": 2, "adapter": "a:1", "order": 3},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        **{"user": "someone", "store": False, "metadata": {"a": "b"}},
    }
    assert (await door.http.post(CHAT, json=body)).status_code == 200
    (seen,) = sampler.seen
    assert [(each.role, each.content) for each in seen.chat.messages] == [
        ("system", "be brief"),
        ("user", "hello"),
    ]
    sampling = seen.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 40, 0.1)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.2, -0.2)
    assert (sampling.repetition_penalty, sampling.seed) == (1.1, 2**64 - 1)
    assert dict(sampling.logit_bias) == {12: -100}
    assert (seen.stopping.max_tokens, seen.stopping.min_tokens) == (5, 2)
    assert list(seen.stopping.stop) == ["\n", "END"]
    assert (seen.n, seen.logprobs, seen.top_logprobs, seen.adapter) == (2, True, 2, "a:1")
    assert seen.ngram.order == 3
    assert json.loads(seen.structured.json_schema) == schema


async def test_a_conversation_in_events(door):
    *chunks, end = await events(door, CHAT, {**HELLO, "stream_options": {"include_usage": True}})
    assert end == "[DONE]"
    objects = [json.loads(each) for each in chunks]
    assert {each["object"] for each in objects} == {"chat.completion.chunk"}
    deltas = [each["choices"][0]["delta"] for each in objects[:-1]]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": " th"},
        {"content": "ere"},
        {},
    ]
    assert [each["choices"][0]["finish_reason"] for each in objects[:-1]] == [None, None, None, "length"]
    assert (objects[-1]["choices"], objects[-1]["usage"]) == ([], COUNTED)
    assert all(each["usage"] is None for each in objects[:-1])
    assert "usage" not in json.loads((await events(door, CHAT, HELLO))[0])


async def test_logprobs_of_a_conversation(door, sampler):
    top = v1.TokenLogprob(id=2, text="�", piece=b"\xe5", logprob=float("-inf"))
    token = v1.ScoredToken(token=v1.TokenLogprob(id=1, text="a", piece=b"a", logprob=-0.5), top=[top])
    sampler.reply.completions[0].tokens.append(token)
    reply = await door.http.post(CHAT, json={**HELLO, "logprobs": True, "top_logprobs": 1})
    (said,) = reply.json()["choices"][0]["logprobs"]["content"]
    assert said == {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "�", "logprob": -9999.0, "bytes": [0xE5]}],
    }


async def test_prompts_go_on_together_and_count_together(door, sampler):
    body = {"model": "m", "prompt": ["one", "two"], "n": 2, "best_of": 3}
    sampler.reply.completions.append(v1.Completion(index=1, text="b"))
    reply = (await door.http.post(COMPLETIONS, json=body)).json()
    assert [each["index"] for each in reply["choices"]] == [0, 1, 2, 3]
    assert reply["usage"]["total_tokens"] == 2 * 5
    assert sorted(each.prompt for each in sampler.seen) == ["one", "two"]
    assert {(each.best_of, each.stopping.max_tokens) for each in sampler.seen} == {(3, 16)}


async def test_one_seed_makes_all_prompts_again(door, sampler):
    await door.http.post(COMPLETIONS, json={"model": "m", "prompt": ["one", "two"]})
    assert len({each.sampling.seed for each in sampler.seen}) == 1
    assert all(each.sampling.HasField("seed") for each in sampler.seen)


@pytest.mark.parametrize(("prompt", "ids"), [([5, 6], [[5, 6]]), ([[5], [6, 7]], [[5], [6, 7]])])
async def test_prompts_may_be_tokens(prompt, ids, door, sampler):
    assert (await door.http.post(COMPLETIONS, json={"model": "m", "prompt": prompt})).status_code == 200
    assert sorted(list(each.prompt_ids.ids) for each in sampler.seen) == ids


async def test_completions_in_events(door):
    body = {"model": "m", "prompt": ["one", "two"], "stream_options": {"include_usage": True}}
    *chunks, end = await events(door, COMPLETIONS, body)
    assert end == "[DONE]"
    objects = [json.loads(each) for each in chunks]
    choices = [each["choices"][0] for each in objects[:-1]]
    assert [(each["index"], each["text"]) for each in choices] == [
        (0, " th"),
        (0, "ere"),
        (1, " th"),
        (1, "ere"),
    ]
    assert objects[-1]["usage"]["total_tokens"] == 2 * 5


async def test_logprobs_of_a_completion_with_its_prompt(door, sampler):
    def token(text, logprob):
        return v1.ScoredToken(token=v1.TokenLogprob(text=text, logprob=logprob))

    sampler.reply.prompt_tokens.extend([token("on", 0.0), token("e", -1.0)])
    sampler.reply.completions[0].tokens.append(token(" there", -2.0))
    body = {"model": "m", "prompt": "one", "echo": True, "logprobs": 0}
    found = (await door.http.post(COMPLETIONS, json=body)).json()["choices"][0]["logprobs"]
    assert found["tokens"] == ["on", "e", " there"]
    assert found["token_logprobs"] == [0.0, -1.0, -2.0]
    assert found["text_offset"] == [0, 2, 3]
    assert (sampler.seen[0].echo, sampler.seen[0].prompt_logprobs) == (True, True)


async def test_vectors_as_numbers_and_packed(door, backend):
    seen = []

    async def embed(request, context):
        asked = EmbedRequest.FromString(request)
        seen.append(asked)
        values = np.array([0.5, -1.25], np.float32)
        packed = asked.options.format == VECTOR_FORMAT_FLOAT32_BYTES
        fields = {"data": values.tobytes()} if packed else {"values": values.tolist()}
        made = [Embedding(index=place, **fields) for place, _ in enumerate(asked.inputs)]
        return EmbedResponse(embeddings=made, usage=USAGE).SerializeToString()

    backend.on(EMBED, embed)
    body = {"model": "m", "input": ["a", "b"], "dimensions": 2}
    reply = (await door.http.post(EMBEDDINGS, json=body)).json()
    assert [each["index"] for each in reply["data"]] == [0, 1]
    assert reply["data"][1]["embedding"] == [0.5, -1.25]
    assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    body = {"model": "m", "input": [[1, 2], [3]], "encoding_format": "base64"}
    reply = (await door.http.post(EMBEDDINGS, json=body)).json()
    values = np.frombuffer(base64.b64decode(reply["data"][1]["embedding"]), np.float32)
    assert values.tolist() == [0.5, -1.25]
    assert [list(each.ids.ids) for each in seen[1].inputs] == [[1, 2], [3]]
    assert seen[0].options.dimensions == 2


async def test_documents_in_order(door, backend):
    async def rank(request, context):
        asked = RankRequest.FromString(request)
        assert [each.text for each in asked.documents] == ["a", "b"]
        best = RankedDocument(index=1, score=0.75)
        return RankResponse(documents=[best], usage=USAGE).SerializeToString()

    backend.on(RANK, rank)
    body = {
        "model": "m",
        "query": "q",
        "documents": ["a", {"text": "b"}],
        "return_documents": True,
        "top_n": 1,
    }
    reply = (await door.http.post("/v1/rerank", json=body)).json()
    assert reply["results"] == [{"index": 1, "relevance_score": 0.75, "document": {"text": "b"}}]
