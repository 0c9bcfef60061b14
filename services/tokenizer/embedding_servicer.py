"""EmbeddingService: vectors of texts and words, and what they are compared for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pequod.tokenizer import v1
from services.common.errors import invalid, unsupported
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.work import Work
from services.tokenizer import replies
from services.tokenizer.embedding import Embedding, Piece, compare, refuse_pictures
from services.tokenizer.encoders.encoder import CrossEncoder
from services.tokenizer.engine import Embedder, EmbedOptions, Input, Precision, Reranker, Row, Truncation
from services.tokenizer.meter import Meter
from services.tokenizer.models import Held, Models
from services.tokenizer.request import (
    MAX_COMPARED,
    MAX_ITEMS,
    check_dimensions,
    check_precision,
    read_input,
    read_inputs,
    read_measure,
    read_options,
    read_precision,
    read_truncation,
)
from services.tokenizer.word_questions import WordQuestions

QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names that sentence-transformers looks for, in this order."""


@dataclass(frozen=True)
class _Run:
    """A request at work on an embedder."""

    held: Held[Embedder]
    options: EmbedOptions
    precision: Precision
    meter: Meter
    deadline: float | None


class EmbeddingServicer(v1.EmbeddingServiceServicer):
    """The RPCs about vectors. It keeps no state of its own."""

    def __init__(self, models: Models, embedding: Embedding, work: Work) -> None:
        self._models = models
        self._embedding = embedding
        self._words = WordQuestions(models, work)

    async def Embed(self, request: v1.EmbedRequest, context: Context) -> v1.EmbedResponse:
        """Vectors of all inputs in one reply."""
        meter = Meter()
        inputs = read_inputs("inputs", request.inputs, 1, MAX_ITEMS)
        options = read_options(request.options)
        async with self._run(request.model, options, meter, context) as run:
            made = await self._all(run, inputs)
        usage = meter.usage(run.held.version)
        report(context, usage)
        as_bytes = request.options.format == v1.VECTOR_FORMAT_FLOAT32_BYTES
        return v1.EmbedResponse(
            embeddings=replies.embeddings(0, made.rows, made.vectors, as_bytes),
            dimensions=options.dimensions or run.held.model.dimensions,
            usage=usage,
        )

    async def EmbedStream(
        self, requests: AsyncIterator[v1.EmbedStreamRequest], context: Context
    ) -> AsyncIterator[v1.EmbedStreamResponse]:
        """Vectors of any number of inputs; requests are read as fast as they are worked on."""
        meter = Meter()
        first = await anext(aiter(requests), None)
        if first is None:
            raise invalid("inputs", "the stream ended before its first message")
        options = read_options(first.options)
        as_bytes = first.options.format == v1.VECTOR_FORMAT_FLOAT32_BYTES
        async with self._run(first.model, options, meter, context) as run:
            dimensions = options.dimensions or run.held.model.dimensions
            stream = self._embedding.stream(
                run.held.model, _inputs(first, requests), options, run.precision, meter, run.deadline
            )
            async with contextlib.aclosing(stream) as pieces:
                async for piece in pieces:
                    vectors = replies.embeddings(piece.first, piece.rows, piece.vectors, as_bytes)
                    yield v1.EmbedStreamResponse(embeddings=vectors, dimensions=dimensions)
        usage = meter.usage(run.held.version)
        report(context, usage)
        yield v1.EmbedStreamResponse(dimensions=dimensions, usage=usage)

    async def Similarity(self, request: v1.SimilarityRequest, context: Context) -> v1.SimilarityResponse:
        """Each input of one list with each of another, or of the same."""
        meter = Meter()
        left = read_inputs("left", request.left, 1, MAX_COMPARED)
        right = read_inputs("right", request.right, 0, MAX_COMPARED)
        cosine = read_measure(request.measure)
        async with self._run(request.model, read_options(request.options), meter, context) as run:
            vectors = (await self._all(run, [*left, *right])).vectors
        rows = vectors[: len(left)]
        scores = compare(rows, vectors[len(left) :] or rows, cosine)
        usage = meter.usage(run.held.version)
        report(context, usage)
        return v1.SimilarityResponse(
            scores=scores.ravel().tolist(), rows=scores.shape[0], columns=scores.shape[1], usage=usage
        )

    async def Rank(self, request: v1.RankRequest, context: Context) -> v1.RankResponse:
        """Documents by a reranker's scores, or by the cosine of an embedder's vectors."""
        meter = Meter()
        query = read_input("query", request.query)
        documents = read_inputs("documents", request.documents, 1, MAX_ITEMS)
        truncation = read_truncation("truncation", request.truncation)
        options = EmbedOptions(
            truncation=truncation, precision=read_precision("precision", request.precision)
        )
        async with self._models.ranker(request.model) as held:
            model = held.model
            precision = check_precision(model.name, options.precision, model.precisions)
            deadline = deadline_of(context)
            await accepted(context)
            if isinstance(model, CrossEncoder):
                _check_texts(model.name, [query, *documents])
                prepare = partial(_pairs, model, query, truncation)
                scores = await self._embedding.scores(model, prepare, documents, precision, meter, deadline)
                if not request.raw_scores:
                    scores = [replies.probability(score) for score in scores]
            else:
                run = _Run(Held(model, held.version), options, precision, meter, deadline)
                scores = await self._cosines(run, query, documents)
        usage = meter.usage(held.version)
        report(context, usage)
        texts = [document.text for document in documents]
        return v1.RankResponse(
            documents=replies.ranked(scores, texts, request.top_n, request.return_documents), usage=usage
        )

    async def Neighbors(self, request: v1.NeighborsRequest, context: Context) -> v1.NeighborsResponse:
        """The words nearest to a word or a vector."""
        return await self._words.neighbors(request, context)

    async def Analogy(self, request: v1.AnalogyRequest, context: Context) -> v1.AnalogyResponse:
        """The words that complete an analogy."""
        return await self._words.analogy(request, context)

    async def WordSimilarity(
        self, request: v1.WordSimilarityRequest, context: Context
    ) -> v1.WordSimilarityResponse:
        """Dot product and cosine of pairs of words."""
        return await self._words.similarity(request, context)

    @contextlib.asynccontextmanager
    async def _run(
        self, model: str, options: EmbedOptions, meter: Meter, context: Context
    ) -> AsyncIterator[_Run]:
        """Hold the embedder while the block runs; what it cannot do is refused before work begins."""
        async with self._models.embedder(model) as held:
            precision = check_precision(held.model.name, options.precision, held.model.precisions)
            check_dimensions(options.dimensions, held.model.dimensions)
            await accepted(context)
            yield _Run(held, options, precision, meter, deadline_of(context))

    async def _all(self, run: _Run, inputs: Sequence[Input]) -> Piece:
        return await self._embedding.all(
            run.held.model, inputs, run.options, run.precision, run.meter, run.deadline
        )

    async def _cosines(self, run: _Run, query: Input, documents: Sequence[Input]) -> list[float]:
        """Query and documents each with the prefix that the model was trained to see before them."""
        prompts = run.held.model.prompts
        asked = replace(run, options=replace(run.options, prompt=_first_of(QUERY_PROMPTS, prompts)))
        searched = replace(run, options=replace(run.options, prompt=_first_of(DOCUMENT_PROMPTS, prompts)))
        left = (await self._all(asked, [query])).vectors
        right = (await self._all(searched, documents)).vectors
        scores: list[float] = compare(left, right, cosine=True)[0].tolist()
        return scores


async def _inputs(
    first: v1.EmbedStreamRequest, others: AsyncIterator[v1.EmbedStreamRequest]
) -> AsyncIterator[Sequence[Input]]:
    """The inputs of each message; errors name them as they stand in that message."""
    yield read_inputs("inputs", first.inputs, 0, MAX_ITEMS)
    async for request in others:
        yield read_inputs("inputs", request.inputs, 0, MAX_ITEMS)


def _pairs(model: Reranker, query: Input, truncation: Truncation, documents: Sequence[Input]) -> list[Row]:
    return model.prepare_pairs(query, documents, truncation)


def _first_of(names: Sequence[str], prompts: Mapping[str, str]) -> str:
    return next((name for name in names if name in prompts), "")


def _check_texts(model: str, inputs: Sequence[Input]) -> None:
    refuse_pictures(model, inputs)
    for each in inputs:
        if each.ids is not None:
            raise unsupported(f"{each.field}: model {model!r} reads pairs of texts, not ids")
