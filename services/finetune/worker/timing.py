"""What a run takes, by the time between its first steps; a forecast and a running job both reckon by it."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

from services.finetune.jobs.job import Spec

TIMED = 5
"""Steps that are timed; the first one, which pays for much else, counts as preparation."""


class Timing:
    """Told after every step, and of candidates' sizes."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        """When the preparation did."""
        self.candidate_bytes = 0
        self._asked: list[float] = []

    @property
    def is_full(self) -> bool:
        """Whether enough steps are timed."""
        return len(self._asked) > TIMED

    def stepped(self) -> None:
        """A step was done. One after the last that counts changes nothing."""
        if not self.is_full:
            self._asked.append(time.monotonic())

    def by_steps(self, spec: Spec) -> dict[str, Any]:
        """Fields of the contract's Forecast, of a recipe with steps."""
        gaps = [after - before for before, after in zip(self._asked, self._asked[1:], strict=False)]
        if not gaps:  # too few steps for more than their end
            return self.whole(spec)
        step = statistics.median(gaps)
        candidate = max(0.0, max(gaps) - step) if self.candidate_bytes else 0.0
        every = spec.checkpoint_every or spec.steps
        return {
            "duration_seconds": round(step * spec.steps + candidate * (spec.steps // every), 3),
            "step_seconds": round(step, 6),
            "prepare_seconds": round(max(0.0, self._asked[0] - self.began - step), 3),
            "steps": spec.steps,
            "timed_steps": len(gaps),
        }

    def whole(self, spec: Spec) -> dict[str, Any]:
        """Of a run that has ended: all of it."""
        seconds = round(time.monotonic() - self.began, 3)
        return {"duration_seconds": seconds, "prepare_seconds": 0.0, "steps": spec.steps}

    def to_the_end(self, spec: Spec) -> dict[str, Any]:
        """Of a run that has ended: its steps as they were timed, what follows the first one as it was."""
        if not self._asked:
            return self.whole(spec)
        return self.by_steps(spec) | {"duration_seconds": round(time.monotonic() - self._asked[0], 3)}


def memory() -> Mapping[str, int]:
    """The most that this process has had so far, in bytes."""
    return {
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "accelerator_memory_bytes": _accelerator_memory(),
    }


def _accelerator_memory() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.max_memory_allocated())
