"""What a report tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.jobs.job import Job

_MOST_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One figure over the steps."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(step, value), by step."""
    best: float | None = None
    """The step of the best checkpoint, where it is a score."""

    @property
    def span(self) -> tuple[float, float, float, float]:
        """Least and greatest step, least and greatest value; never the same."""
        steps, values = zip(*self.points, strict=True)
        left, right, low, high = min(steps), max(steps), min(values), max(values)
        return left, right if right > left else left + 1, low, high if high > low else low + (abs(low) or 1)


@dataclass(frozen=True)
class Told:
    """A job with all that was found on the way."""

    job: Job
    checkpoints: Sequence[Checkpoint]
    figures: Sequence[Mapping[str, Any]]
    """Of events of steps: ``step`` and ``values``."""
    read: Callable[[str], bytes]
    """The picture of a preview by its file's name; empty when it is gone."""

    def curves(self) -> list[Curve]:
        """Figures of steps first, then scores."""
        return [*self._of_steps(), *self._of_scores()]

    def _of_steps(self) -> list[Curve]:
        found: dict[str, dict[float, float]] = {}
        for each in self.figures:
            for name, value in each["values"].items():
                found.setdefault(name, {})[each["step"]] = value
        return [Curve(name, _thinned(sorted(points.items()))) for name, points in found.items()]

    def _of_scores(self) -> list[Curve]:
        best = next((float(each.step) for each in self.checkpoints if each.best), None)
        found: dict[str, list[tuple[float, float]]] = {}
        for each in self.checkpoints:
            for score in each.scores:
                found.setdefault(score.name, []).append((each.step, score.value))
        return [Curve(name, tuple(points), best) for name, points in found.items()]


Write = Callable[[Told], bytes]


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Few enough for a picture, the last one among them."""
    stride = max(1, -(-len(points) // _MOST_POINTS))
    return tuple(points[(len(points) - 1) % stride :: stride])
