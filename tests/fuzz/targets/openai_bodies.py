"""Bodies of the endpoints under /v1, from bytes to the calls of services that they become."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from functools import cache

from gateway.call import Call
from gateway.caller import Caller
from gateway.methods import Method, method_table
from gateway.openai.answer import Events
from gateway.openai.routes import ENTRIES
from gateway.routes.body import parse
from services.common.catalogue import SERVICES
from services.common.errors import overloaded
from tests.fuzz.loops import awaited

REFUSALS = ()
WORDS = tuple(
    rb"""
        "model" "messages" "role" "content" "user" "input" "prompt" "stream" true "response_format"
        "json_schema" "schema" "logit_bias" "stop" "seed" "size" 1e999 "parameters" "training_file"
        "documents" "tokens" "dimensions" "encoding_format" null
    """.split()
)
BODIES = [each for each in ENTRIES if each.described.verb == "post" and each.described.body is not None]


def run(data: bytes) -> None:
    entry = BODIES[(data or b"\0")[0] % len(BODIES)]
    value = parse(data[1:])
    awaited(_answered(entry.endpoint(value, Caller(_methods(), _pipeline, (), "id", 1.0))))


async def _answered(answering) -> None:
    answer = await answering
    if isinstance(answer, Events):
        async for _ in answer.objects:
            pass


async def _pipeline(call: Call) -> None:
    """The services' part: the request is one they can read, and they have no time for it."""
    if isinstance(call.request, AsyncIterable):
        async for each in call.request:
            call.method.request_type.FromString(each)
    else:
        call.method.request_type.FromString(call.request)
    raise overloaded("busy", 1.0)


@cache
def _methods() -> dict[str, Method]:
    return method_table(SERVICES)


def seeds() -> Iterable[bytes]:
    chat = b'"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]'
    given = {
        "/v1/chat/completions": (
            b'{"model": "m", %s, "n": 2, "stop": ["a"], "logit_bias": {"3": 1}, "logprobs": true}' % chat,
            b'{"model": "m", %s, "stream": true, "stream_options": {"include_usage": true}}' % chat,
            b'{"model": "m", %s, "response_format": {"type": "json_schema", "json_schema": '
            b'{"name": "n", "schema": {"type": "object"}}}}' % chat,
        ),
        "/v1/responses": (b'{"model": "m", "input": "a", "text": {"format": {"type": "text"}}}',),
        "/v1/completions": (b'{"model": "m", "prompt": ["a", "b"], "echo": true, "best_of": 2, "seed": 1}',),
        "/v1/embeddings": (
            b'{"model": "m", "input": [[1, 2]], "dimensions": 3, "encoding_format": "base64"}',
        ),
        "/v1/images/generations": (b'{"model": "m", "prompt": "a", "size": "64x64", "n": 1, "seed": 3}',),
        "/v1/images/edits": (b'{"model": "m", "prompt": "a", "image": "x", "mask": "y"}',),
        "/v1/rerank": (b'{"model": "m", "query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}',),
        "/v1/tokenize": (b'{"model": "m", "prompt": "a"}',),
        "/v1/detokenize": (b'{"model": "m", "tokens": [1, 2]}',),
        "/v1/files": (b'{"file": "a", "purpose": "fine-tune"}',),
        "/v1/fine_tuning/jobs": (
            b'{"model": "m", "training_file": "ds-1", "recipe": "r", "seed": 1, "metadata": {"a": "b"}, '
            b'"hyperparameters": {"batch_size": 2}, "parameters": {"rate": 0.1, "x": [1e3, null]}}',
        ),
    }
    for place, entry in enumerate(BODIES):
        for body in given.get(entry.described.path, (b"{}",)):
            yield bytes((place,)) + body
