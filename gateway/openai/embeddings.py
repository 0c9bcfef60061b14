"""``/v1/embeddings``, and ``/v1/rerank`` as Cohere's and Jina's clients call it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.caller import Caller
from gateway.openai.answer import Answer
from gateway.openai.body import Body, Count, TokenId
from pequod.common.v1 import TokenIds
from pequod.tokenizer import v1

EMBED = "/pequod.tokenizer.v1.EmbeddingService/Embed"
RANK = "/pequod.tokenizer.v1.EmbeddingService/Rank"
Text = Annotated[str, Field(min_length=1)]


class EmbeddingBody(Body):
    """A request. The last two fields are our own."""

    input: Annotated[str | list[Text] | list[TokenId] | list[list[TokenId]], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    prompt_name: str = ""
    truncate: bool = False


class Document(BaseModel):
    """A document as an object."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text


class RerankBody(Body):
    """A request. ``raw_scores`` is our own field."""

    query: Text
    documents: list[Text | Document] = Field(min_length=1)
    top_n: Count | None = None
    return_documents: bool = False
    raw_scores: bool = False


def inputs_of(given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[v1.EmbedInput]:
    """Texts or lists of token ids."""
    if isinstance(given, str):
        return [v1.EmbedInput(text=given)]
    if isinstance(given[0], int):
        return [_of_ids(given)]  # type: ignore[arg-type]
    return [v1.EmbedInput(text=each) if isinstance(each, str) else _of_ids(each) for each in given]  # type: ignore[arg-type]


def _of_ids(ids: Sequence[int]) -> v1.EmbedInput:
    return v1.EmbedInput(ids=TokenIds(ids=ids))


async def embeddings(body: EmbeddingBody, caller: Caller) -> Answer:
    """Vectors of texts or tokens."""
    request = v1.EmbedRequest(model=body.model, inputs=inputs_of(body.input))
    is_packed = body.encoding_format == "base64"
    options = request.options
    options.dimensions = body.dimensions or 0
    options.prompt_name = body.prompt_name
    options.truncation = v1.TRUNCATION_END if body.truncate else v1.TRUNCATION_REFUSE
    options.format = v1.VECTOR_FORMAT_FLOAT32_BYTES if is_packed else v1.VECTOR_FORMAT_VALUES
    reply = await caller.one(EMBED, request)
    data = [
        {
            "object": "embedding",
            "index": each.index,
            "embedding": base64.b64encode(each.data).decode() if is_packed else list(each.values),
        }
        for each in reply.embeddings
    ]
    return {"object": "list", "data": data, "model": body.model, "usage": _usage(reply.usage.input_tokens)}


async def rerank(body: RerankBody, caller: Caller) -> Answer:
    """Documents by how well they answer a query."""
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    request = v1.RankRequest(
        model=body.model,
        query=v1.EmbedInput(text=body.query),
        documents=[v1.EmbedInput(text=each) for each in texts],
        top_n=body.top_n or 0,
        raw_scores=body.raw_scores,
    )
    reply = await caller.one(RANK, request)
    results = [
        {"index": each.index, "relevance_score": each.score}
        | ({"document": {"text": texts[each.index]}} if body.return_documents else {})
        for each in reply.documents
    ]
    return {
        "id": f"rerank-{caller.request_id}",
        "model": body.model,
        "results": results,
        "usage": _usage(reply.usage.input_tokens),
    }


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}
