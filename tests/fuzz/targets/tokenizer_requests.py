"""Requests of TokenizerService and EmbeddingService, cut by the shipped encoding, without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from pequod.common.v1 import Image, TokenIds
from pequod.tokenizer import v1
from services.tokenizer import request as reading
from services.tokenizer.families import int8_rows, tiktoken
from services.tokenizer.servicer import _count, _detokenize, _tokenize
from services.tokenizer.word_questions import _analogy, _neighbors, _similarity
from tests.fuzz.filling import message_of, sent
from tests.fuzz.known import root

REFUSALS = ()
WORDS = (
    *rb"""
        <|endoftext|> whale king query minilm gpt2
    """.split(),
    *(b"a b",),
)
KINDS = (
    *(v1.TokenizeRequest, v1.DetokenizeRequest, v1.CountTokensRequest, v1.EmbedRequest),
    *(v1.SimilarityRequest, v1.RankRequest, v1.NeighborsRequest, v1.AnalogyRequest, v1.WordSimilarityRequest),
)


def run(data: bytes) -> None:
    request = message_of(data, KINDS, WORDS)
    if request is not None:
        _READERS[type(request)](request)


def _tokens(request) -> None:
    texts, spelling = reading.read_texts(request.texts), reading.read_spelling(request.special)
    _tokenize(_encoding(), texts, spelling, request)


def _counts(request) -> None:
    _count(_encoding(), reading.read_texts(request.texts), reading.read_spelling(request.special))


def _texts(request) -> None:
    reading.check_count("sequences", len(request.sequences), 1, reading.MAX_ITEMS)
    _detokenize(_encoding(), request)


def _embed(request) -> None:
    reading.read_inputs("inputs", request.inputs, 1, reading.MAX_ITEMS)
    reading.check_dimensions(reading.read_options(request.options).dimensions, 384)


def _compare(request) -> None:
    reading.read_inputs("left", request.left, 1, reading.MAX_COMPARED)
    reading.read_inputs("right", request.right, 0, reading.MAX_COMPARED)
    reading.read_measure(request.measure)
    reading.read_options(request.options)


def _rank(request) -> None:
    reading.read_input("query", request.query)
    reading.read_inputs("documents", request.documents, 1, reading.MAX_ITEMS)
    reading.read_truncation("truncation", request.truncation)
    reading.read_precision("precision", request.precision)


def _near(request) -> None:
    _neighbors(request, reading.read_limit(request.limit), _words())


def _complete(request) -> None:
    limit, multiplies = reading.read_limit(request.limit), reading.read_multiplies(request.method)
    count = len(request.positive) + len(request.negative)
    reading.check_count("positive", count, 1, reading.MAX_ANALOGY_WORDS)
    _analogy(request, limit, multiplies, _words())


def _alike(request) -> None:
    reading.check_count("pairs", len(request.pairs), 1, reading.MAX_ITEMS)
    _similarity(request, _words())


_READERS = dict(
    zip(KINDS, (_tokens, _texts, _counts, _embed, _compare, _rank, _near, _complete, _alike), strict=True)
)


@cache
def _encoding():
    return tiktoken.load(*_shipped("gpt2"), None)


@cache
def _words():
    return int8_rows.load(*_shipped("words"), None)


def _shipped(name):
    folder = root() / f"models/{name}/1"
    return json.loads((folder / "model.json").read_text())["config"], folder


def seeds() -> Iterable[bytes]:
    inputs = [v1.EmbedInput(text="a whale"), v1.EmbedInput(ids=TokenIds(ids=[1, 2]))]
    special = v1.SpecialTokenOptions(allowed_special=["<|endoftext|>"], add_special_tokens=True)
    for request in (
        v1.TokenizeRequest(texts=["Call me", "后"], special=special, pieces=True, offsets=True, max_tokens=3),
        v1.DetokenizeRequest(sequences=[TokenIds(ids=[1, 50256])], skip_special_tokens=True),
        v1.CountTokensRequest(texts=["<|endoftext|>"], special=special),
        v1.EmbedRequest(inputs=inputs, options=v1.EmbedOptions(dimensions=8, normalize=True)),
        v1.SimilarityRequest(left=inputs, right=[v1.EmbedInput(image=Image(data=b"x"))]),
        v1.RankRequest(query=inputs[0], documents=inputs, top_n=1),
        v1.NeighborsRequest(word="whale", limit=3, exclude=["sea"]),
        v1.AnalogyRequest(positive=["man", "mother"], negative=["woman"]),
        v1.WordSimilarityRequest(pairs=[v1.WordPair(first="horse", second="cow")]),
    ):
        yield sent(request, KINDS)
