"""The queues of the service: images to be drawn and pictures to be judged, of each model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from services.common.batcher import Batcher, Limits
from services.common.metrics import Metrics
from services.gan.engine import Draft, Drawn, Judged, Model


class Queues:
    """Rows of all requests share the next call of a model's networks."""

    def __init__(self, metrics: Metrics, rows: int, max_waiting: int) -> None:
        """``rows``: the most of a call."""
        self._metrics = metrics
        self._limits = Limits(max_rows=rows, max_queue=max_waiting)
        self._draws: weakref.WeakKeyDictionary[Model, Batcher[Draft, Drawn]] = weakref.WeakKeyDictionary()
        self._judges: weakref.WeakKeyDictionary[Model, Batcher[Judged, float]] = weakref.WeakKeyDictionary()

    def draw(self, model: Model) -> Batcher[Draft, Drawn]:
        """The queue of images in front of ``model``; it goes when the model goes."""
        if model not in self._draws:
            self._draws[model] = self._made(model, "draw", _draw)
        return self._draws[model]

    def judge(self, model: Model) -> Batcher[Judged, float]:
        """The queue of pictures in front of its discriminator."""
        if model not in self._judges:
            self._judges[model] = self._made(model, "judge", _judge)
        return self._judges[model]

    def _made(
        self, model: Model, what: str, work: Callable[[Model, Sequence[Any]], Sequence[Any]]
    ) -> Batcher[Any, Any]:
        return Batcher(
            partial(_run, work, weakref.ref(model)),
            self._limits,
            name=f"{model.name}-{what}",
            metrics=self._metrics,
            model=model.name,
        )


def _run(
    work: Callable[[Model, Sequence[Any]], Sequence[Any]], model: weakref.ref[Model], items: Sequence[Any]
) -> Sequence[Any]:
    alive = model()
    assert alive is not None, "whoever waits holds a lease of the model"
    return work(alive, items)


def _draw(model: Model, drafts: Sequence[Draft]) -> Sequence[Drawn]:
    return model.draw(drafts)


def _judge(model: Model, rows: Sequence[Judged]) -> Sequence[float]:
    return model.judge(rows)
