"""From inputs to vectors: prepare in a thread, queue, collect. What the embedding RPCs share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from services.common.batcher import Served
from services.common.errors import Reason, ServiceError, unsupported
from services.common.metrics import Metrics
from services.common.work import Work
from services.tokenizer.bulk import PICTURES, PIECE, in_pieces, once
from services.tokenizer.engine import Embedder, EmbedOptions, Engine, Floats, Input, Precision, Row, finish
from services.tokenizer.meter import Meter
from services.tokenizer.queues import RowQueues

T = TypeVar("T")

_LONGEST_PAUSE = 0.5  # seconds between tries of a call that has begun to find room in the queue


@dataclass(frozen=True)
class Piece:
    """Vectors of consecutive inputs."""

    first: int
    rows: Sequence[Row]
    vectors: Sequence[Floats]


class Embedding:
    """Has inputs embedded for one request after another; its queues are shared by all of them."""

    def __init__(self, work: Work, queues: RowQueues, metrics: Metrics) -> None:
        self._work = work
        self._queues = queues
        self._metrics = metrics

    async def all(
        self,
        model: Embedder,
        inputs: Sequence[Input],
        options: EmbedOptions,
        precision: Precision,
        meter: Meter,
        deadline: float | None,
    ) -> Piece:
        """The vectors of all inputs, finished as the options say."""
        pieces = self.stream(model, once(inputs), options, precision, meter, deadline)
        made = [piece async for piece in pieces]
        rows = [row for piece in made for row in piece.rows]
        return Piece(0, rows, [vector for piece in made for vector in piece.vectors])

    def stream(
        self,
        model: Embedder,
        source: AsyncIterator[Sequence[Input]],
        options: EmbedOptions,
        precision: Precision,
        meter: Meter,
        deadline: float | None,
    ) -> AsyncGenerator[Piece, None]:
        """Pieces of vectors in the order of the inputs; the source is read no faster than they are made."""
        normalize = model.normalize if options.normalize is None else options.normalize

        async def embed(first: int, inputs: Sequence[Input]) -> Piece:
            if not model.reads_pictures:
                refuse_pictures(model.name, inputs)
            prepare = partial(model.prepare, inputs, options)
            rows, served = await self._rows(model, prepare, precision, first == 0, meter, deadline)
            vectors = [finish(each.value, options.dimensions, normalize) for each in served]
            return Piece(first, rows, vectors)

        return in_pieces(source, embed, PICTURES if model.reads_pictures else PIECE)

    async def scores(
        self,
        model: Engine,
        prepare: Callable[[Sequence[Input]], list[Row]],
        documents: Sequence[Input],
        precision: Precision,
        meter: Meter,
        deadline: float | None,
    ) -> list[float]:
        """The one number that a reranker gives each document."""

        async def score(first: int, inputs: Sequence[Input]) -> list[float]:
            job = partial(prepare, inputs)
            _, served = await self._rows(model, job, precision, first == 0, meter, deadline)
            return [float(each.value[0]) for each in served]

        return [each async for scores in in_pieces(once(documents), score) for each in scores]

    async def _rows(
        self,
        model: Engine,
        prepare: Callable[[], list[Row]],
        precision: Precision,
        may_refuse: bool,
        meter: Meter,
        deadline: float | None,
    ) -> tuple[list[Row], list[Served[Floats]]]:
        prepared = await _patiently(lambda: self._work.run(prepare, deadline), may_refuse)
        rows = prepared.value
        queue = self._queues.of(model, precision)
        served = await _patiently(lambda: queue.submit_many(rows, deadline), may_refuse)
        meter.note(served)
        tokens = sum(len(row.ids) for row in rows)
        meter.input_tokens += tokens
        self._metrics.prompt_tokens.labels(model.name).inc(tokens)
        return rows, served


async def _patiently(submit: Callable[[], Awaitable[T]], may_refuse: bool) -> T:
    """What has begun is not thrown away because others came meanwhile: unless it may be refused, it waits."""
    while True:
        try:
            return await submit()
        except ServiceError as error:
            if may_refuse or error.reason is not Reason.OVERLOADED:
                raise
            await asyncio.sleep(min(error.retry_after or _LONGEST_PAUSE, _LONGEST_PAUSE))


def refuse_pictures(model: str, inputs: Sequence[Input]) -> None:
    """FAILED_PRECONDITION where one is among the inputs of a model that reads texts only."""
    for each in inputs:
        if each.image is not None:
            raise unsupported(f"{each.field}.image: model {model!r} reads texts, not pictures")


def compare(left: Sequence[Floats], right: Sequence[Floats], cosine: bool) -> Floats:
    """Each of ``left`` with each of ``right``, [left, right]: cosine, or dot product."""
    rows, columns = (np.stack(vectors).astype(np.float64) for vectors in (left, right))
    products = rows @ columns.T
    if cosine:
        norms = np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1))
        products = np.clip(products / np.maximum(norms, 1e-12), -1.0, 1.0)
    return np.asarray(products, np.float32)
