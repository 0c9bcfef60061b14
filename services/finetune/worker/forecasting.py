"""Runs a few steps of what a job would do, and says what all of it would take."""

from __future__ import annotations

import contextlib
import json
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
from services.finetune.worker.timing import Timing, memory

_CANDIDATE_AT = 3
"""Steps from one candidate to the next, so that the time of one is among those taken."""


def forecast(folder: Path, tenant: str, means: Means) -> None:
    """Read ``spec.json`` of a folder, run, write ``forecast.json``. Raises what the run does."""
    spec = Spec.of_json(json.loads((folder / FORECAST_SPEC).read_text()))
    known, began = recipe(spec.recipe), time.monotonic()
    prepared = Preparation(Asked(tenant, spec), known, means, folder, Alone()).run()
    run, clock = load(known), Clock()
    task = replace(prepared.task, checkpoint_every=_CANDIDATE_AT if known.offers else 0)
    fetched = clock.timing.began - began
    with contextlib.suppress(Stopped):
        run(task, clock)
    found = clock.timing.by_steps(spec) if known.has_steps else clock.by_progress(spec)
    found["prepare_seconds"] = round(found["prepare_seconds"] + fetched, 3)
    found |= memory()
    found["disk_bytes"] = size_of(task.work) + clock.timing.candidate_bytes * spec.keep_checkpoints
    partial = folder / f"{FORECAST_RESULT}.partial"
    partial.write_text(json.dumps(found))
    partial.replace(folder / FORECAST_RESULT)


class Clock(Alone):
    """Takes the time of each step, and ends the run after a few."""

    def __init__(self) -> None:
        self.timing = Timing()
        self._progress = (0, 0)

    def progressed(self, done: int, total: int, message: str) -> None:
        """By this a recipe without steps is reckoned."""
        self._progress = done, total

    def offered(self, candidate: Candidate) -> bool:
        """Its size; the time that it took is between two steps."""
        self.timing.candidate_bytes = size_of(candidate.folder)
        return True

    def wants_stop(self) -> bool:
        """Asked after every step."""
        self.timing.stepped()
        return self.timing.is_full

    def by_progress(self, spec: Spec) -> dict[str, Any]:
        """Of one without steps: what it has done tells how long all of it takes."""
        done, total = self._progress
        found = self.timing.whole(spec)
        if 0 < done < total:
            found["duration_seconds"] = round(found["duration_seconds"] * total / done, 3)
        return found
