"""The queues of the service: one of small jobs, and one for each model and number format that embeds."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

from services.common.batcher import Batcher, Limits
from services.common.metrics import Metrics
from services.tokenizer.engine import Engine, Floats, Precision, Row
from services.tokenizer.settings import TokenizerSettings

RowQueue = Batcher[Row, Floats]


class RowQueues:
    """Rows of concurrent callers share engine steps: the oldest row and those nearest to it in length."""

    def __init__(self, metrics: Metrics, settings: TokenizerSettings) -> None:
        self._metrics = metrics
        self._settings = settings
        self._queues: weakref.WeakKeyDictionary[Engine, dict[Precision, RowQueue]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, engine: Engine, precision: Precision) -> RowQueue:
        """The queue in front of ``engine``; it goes when the engine goes."""
        queues = self._queues.setdefault(engine, {})
        if precision not in queues:
            queues[precision] = self._make(engine, precision)
        return queues[precision]

    def _make(self, engine: Engine, precision: Precision) -> RowQueue:
        limits = Limits(
            max_rows=self._settings.batch_tokens,
            max_queue=self._settings.max_waiting,
            max_cost=float(self._settings.batch_tokens),
            oversized_alone=True,
            padded=True,
        )
        return Batcher(
            partial(_run_rows, weakref.ref(engine), precision),
            limits,
            name=engine.name,
            cost=_cost,
            order=_cost,
            metrics=self._metrics,
            model=engine.name,
        )


def _run_rows(engine: weakref.ref[Engine], precision: Precision, rows: Sequence[Row]) -> Sequence[Floats]:
    alive = engine()
    assert alive is not None, "whoever waits for a row holds a lease of its model"
    return alive.run(rows, precision)


def _cost(row: Row) -> float:
    return row.cost
