"""Runs a few steps of what a job would do, and says what all of it would take."""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.finetune.catalogue.entries import recipe
from services.finetune.checkpoints.folder import size_of
from services.finetune.jobs.job import Spec
from services.finetune.recipes.watching import Alone, Candidate, Stopped
from services.finetune.worker.files import FORECAST_RESULT, FORECAST_SPEC
from services.finetune.worker.preparing import Asked, Means, Preparation
from services.finetune.worker.running import load

_TIMED = 5
_CANDIDATE_AT = 3
"""Steps from one candidate to the next, so that the time of one is among those taken."""


def forecast(folder: Path, tenant: str, means: Means) -> None:
    """Read ``spec.json`` of a folder, run, write ``forecast.json``. Raises what the run does."""
    spec = Spec.of_json(json.loads((folder / FORECAST_SPEC).read_text()))
    known, began = recipe(spec.recipe), time.monotonic()
    prepared = Preparation(Asked(tenant, spec), known, means, folder, Alone()).run()
    run, clock = load(known), Clock()
    task = replace(prepared.task, checkpoint_every=_CANDIDATE_AT if known.offers else 0)
    fetched = clock.began - began
    with contextlib.suppress(Stopped):
        run(task, clock)
    found = clock.by_steps(spec) if known.has_steps else clock.by_progress()
    found["prepare_seconds"] = round(found["prepare_seconds"] + fetched, 3)
    found["memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found["accelerator_memory_bytes"] = _accelerator_memory()
    found["disk_bytes"] = size_of(task.work) + clock.candidate_bytes * spec.keep_checkpoints
    partial = folder / f"{FORECAST_RESULT}.partial"
    partial.write_text(json.dumps(found))
    partial.replace(folder / FORECAST_RESULT)


class Clock(Alone):
    """Takes the time of each step, and ends the run after a few."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.candidate_bytes = 0
        self._asked: list[float] = []
        self._progress = (0, 0)

    def progressed(self, done: int, total: int, message: str) -> None:
        """By this a recipe without steps is reckoned."""
        self._progress = done, total

    def offered(self, candidate: Candidate) -> bool:
        """Its size; the time that it took is between two steps."""
        self.candidate_bytes = size_of(candidate.folder)
        return True

    def wants_stop(self) -> bool:
        """Asked after every step."""
        self._asked.append(time.monotonic())
        return len(self._asked) > _TIMED

    def by_steps(self, spec: Spec) -> dict[str, Any]:
        """Of a recipe with steps; the first one, which pays for much else, counts as preparation."""
        gaps = [after - before for before, after in zip(self._asked, self._asked[1:], strict=False)]
        if not gaps:  # too few steps for more than their end
            return self._whole() | {"steps": spec.steps}
        step = statistics.median(gaps)
        candidate = max(0.0, max(gaps) - step) if self.candidate_bytes else 0.0
        every = spec.checkpoint_every or spec.steps
        return {
            "duration_seconds": round(step * spec.steps + candidate * (spec.steps // every), 3),
            "step_seconds": round(step, 6),
            "prepare_seconds": max(0.0, self._asked[0] - self.began - step),
            "steps": spec.steps,
            "timed_steps": len(gaps),
        }

    def by_progress(self) -> dict[str, Any]:
        """Of one without: what it has done tells how long all of it takes."""
        done, total = self._progress
        found = self._whole()
        if 0 < done < total:
            found["duration_seconds"] = round(found["duration_seconds"] * total / done, 3)
        return found

    def _whole(self) -> dict[str, Any]:
        return {"duration_seconds": round(time.monotonic() - self.began, 3), "prepare_seconds": 0.0}


def _accelerator_memory() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.max_memory_allocated())
