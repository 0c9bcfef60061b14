"""From plain arguments to requests for vectors, orders and tokens, and from their replies to plain lists."""

from __future__ import annotations

import sys
from array import array
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

from pequod.tokenizer.v1 import (
    TRUNCATION_END,
    TRUNCATION_REFUSE,
    VECTOR_FORMAT_FLOAT32_BYTES,
    CountTokensRequest,
    Embedding,
    EmbedInput,
    EmbedOptions,
    EmbedRequest,
    EmbedResponse,
    EmbedStreamRequest,
    EmbedStreamResponse,
    RankRequest,
    RankResponse,
    Truncation,
)

PART_TEXTS = 100
"""Texts in a message of ``embed_stream``."""
PART_LETTERS = 2**20
"""A message with so many letters is sent before it has all its texts; it stays below the gateway's limit."""


class EmbedSettings(TypedDict, total=False):
    """Settings of ``embed`` and ``embed_stream``; ranges and defaults as in ``pequod.tokenizer.v1``."""

    model: str
    dimensions: int
    normalize: bool
    prompt: str
    """Name of a prefix in the model's configuration, such as "query"."""
    truncate: bool
    """Cut off the end of texts that are too long; they are refused otherwise."""


class RankSettings(TypedDict, total=False):
    """Settings of ``rank``; ranges and defaults as in ``pequod.tokenizer.v1``."""

    model: str
    top_n: int
    """Documents to return; 0 returns all."""
    truncate: bool
    """Cut off the end of documents that are too long; they are refused otherwise."""
    raw_scores: bool
    """A reranker's logits in place of probabilities."""


def embed_request(texts: Sequence[str], settings: EmbedSettings) -> EmbedRequest:
    """The request for the vectors of ``texts``. Raises TypeError naming unknown settings."""
    _check_settings(settings, EmbedSettings)
    return EmbedRequest(
        model=settings.get("model") or "", inputs=_inputs("texts", texts), options=_options(settings)
    )


def vectors_of(reply: EmbedResponse) -> list[list[float]]:
    """The vectors of a reply in the order of the inputs."""
    return [_floats(each) for each in reply.embeddings]


def indexed_vectors_of(reply: EmbedStreamResponse) -> list[tuple[int, list[float]]]:
    """The vectors of one reply of a stream, each with the number of its text."""
    return [(each.index, _floats(each)) for each in reply.embeddings]


def rank_request(query: str, documents: Sequence[str], settings: RankSettings) -> RankRequest:
    """The request for ``documents`` in order. Raises TypeError naming unknown settings."""
    _check_settings(settings, RankSettings)
    return RankRequest(
        model=settings.get("model") or "",
        query=EmbedInput(text=query),
        documents=_inputs("documents", documents),
        top_n=settings.get("top_n") or 0,
        raw_scores=settings.get("raw_scores") or False,
        truncation=_truncation(settings.get("truncate")),
    )


def order_of(reply: RankResponse) -> list[tuple[int, float]]:
    """Numbers and scores of the documents, best first."""
    return [(each.index, each.score) for each in reply.documents]


def count_request(texts: Sequence[str], model: str) -> CountTokensRequest:
    """The request for the numbers of tokens of ``texts``."""
    _check_list("texts", texts)
    return CountTokensRequest(model=model, texts=texts)


class Bulk:
    """The requests of one ``embed_stream``, made as texts come.

    An error that the texts themselves raise ends the requests, and ``error`` keeps it for the reader of
    the replies: gRPC would only tell that some error happened.
    """

    def __init__(self, texts: Iterable[str] | AsyncIterable[str], settings: EmbedSettings) -> None:
        """Raises TypeError naming unknown settings."""
        _check_settings(settings, EmbedSettings)
        _check_list("texts", texts)
        self._texts = texts
        # Model and options are read in the first message only, which is sent even when there are no texts.
        self._next = EmbedStreamRequest(model=settings.get("model") or "", options=_options(settings))
        self._sent = 0
        self._letters = 0
        self.error: Exception | None = None

    def requests(self) -> Iterator[EmbedStreamRequest]:
        """For a client that blocks; ``texts`` must be a plain iterable."""
        try:
            for text in _plain(self._texts):
                if self._add(text):
                    yield self._take()
        except Exception as error:
            self.error = error
            return
        if self._rest():
            yield self._take()

    async def requests_async(self) -> AsyncIterator[EmbedStreamRequest]:
        """For asyncio."""
        try:
            async for text in _each(self._texts):
                if self._add(text):
                    yield self._take()
        except Exception as error:
            self.error = error
            return
        if self._rest():
            yield self._take()

    def _add(self, text: str) -> bool:
        """Put ``text`` into the next message; whether that is full."""
        self._next.inputs.add(text=text)
        self._letters += len(text)
        return len(self._next.inputs) == PART_TEXTS or self._letters >= PART_LETTERS

    def _rest(self) -> bool:
        return bool(self._next.inputs) or not self._sent

    def _take(self) -> EmbedStreamRequest:
        full, self._next = self._next, EmbedStreamRequest()
        self._sent += 1
        self._letters = 0
        return full


def _plain(texts: Iterable[str] | AsyncIterable[str]) -> Iterable[str]:
    if isinstance(texts, AsyncIterable):
        raise TypeError("texts: only AsyncClient reads an asynchronous iterable")
    return texts


async def _each(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text


def _options(settings: EmbedSettings) -> EmbedOptions:
    return EmbedOptions(
        dimensions=settings.get("dimensions") or 0,
        normalize=settings.get("normalize"),
        prompt_name=settings.get("prompt") or "",
        truncation=_truncation(settings.get("truncate")),
        format=VECTOR_FORMAT_FLOAT32_BYTES,
    )


def _truncation(cut: bool | None) -> Truncation.ValueType:
    return TRUNCATION_END if cut else TRUNCATION_REFUSE


def _inputs(name: str, texts: Iterable[str]) -> list[EmbedInput]:
    _check_list(name, texts)
    return [EmbedInput(text=text) for text in texts]


def _check_list(name: str, texts: object) -> None:
    """Raises TypeError for one text, which would be read letter by letter."""
    if isinstance(texts, str):
        raise TypeError(f"{name}: must be a list of texts, not one text")


def _check_settings(settings: Mapping[str, object], kind: type) -> None:
    unknown = sorted(settings.keys() - kind.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown settings: {', '.join(unknown)}")


def _floats(embedding: Embedding) -> list[float]:
    numbers = array("f", embedding.data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
