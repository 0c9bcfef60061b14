"""The last part of an image's way: from what the network made to a file, in a lane of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np

from services.diffusion.engine import Model, Pixels, Ranker, Upscaler
from services.diffusion.planning import Plan
from services.diffusion.schedulers.levels import Array


@dataclass
class Taken:
    """Seconds that each kind of work took, of all images of a request."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, since: float) -> None:
        """Count from ``since``, on the clock of ``time.perf_counter``, until now."""
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - since

    def milliseconds(self, kind: str) -> float:
        """What a kind of work took."""
        return self.seconds.get(kind, 0.0) * 1e3


def picture_of(painted: Array, model: Model, plan: Plan, taken: Taken) -> Pixels:
    """The picture that a request's model made, with what stays of the one it was sent."""
    since = time.perf_counter()
    picture = model.decode(painted)
    if plan.kept is not None:
        picture = plan.kept.put_back(picture)
    if model.traits.factor > 1:
        taken.add("decode", since)
    return picture


def enlarged(picture: Pixels, upscaler: Upscaler | None, factor: int, taken: Taken) -> Pixels:
    """``factor`` times as large; itself where no upscaler is needed."""
    if upscaler is None:
        return picture
    since = time.perf_counter()
    larger = upscaler.enlarge(picture, factor)
    taken.add("upscale", since)
    return larger


def best(ranker: Ranker, prompt: str, pictures: Rows[Pixels], n: int) -> list[tuple[int, float]]:
    """(place, score) of the ``n`` pictures that fit the prompt best, best first; of equals the earlier."""
    scores = np.asarray(ranker.scores(prompt, pictures), np.float64)
    order = np.argsort(-scores, kind="stable")[:n]
    return [(int(place), float(scores[place])) for place in order]
