"""The best candidate, or the one that is picked, becomes the version that a recipe leaves."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.common.store import MANIFEST_NAME, Manifest
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.ranking import best, ranked
from services.finetune.recipes.version import manifest_of
from services.finetune.recipes.watching import Candidate


def publish_best(
    candidates: Candidates, out: Path, figures: Mapping[str, float], curve: Sequence[Any], pick: int = 0
) -> Manifest:
    """Copy it to ``out``, its scores and ``figures`` the metrics, all candidates' scores in the config.

    ``pick``: a step; 0 for the best. Raises ValueError where vetoes rule all out, or the picked one is gone.
    """
    every = candidates.all()
    chosen = _chosen(every, pick)
    if not chosen.folder.exists():
        raise ValueError(f"the files of the candidate of step {chosen.step} are gone: keep more")
    shutil.copytree(chosen.folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_NAME))
    made = manifest_of(chosen.folder)
    scores = {each.name: each.value for each in chosen.scores if math.isfinite(each.value)}
    told = {"candidates": table(every), "chosen_step": chosen.step, "curve": list(curve)}
    manifest = made.model_copy(
        update={
            "name": out.parent.name,
            "version": out.name,
            "metrics": {**scores, **figures, "step": float(chosen.step)},
            "config": {**made.config, **told},
            "created": datetime.now(UTC).replace(microsecond=0),
        }
    )
    partial = out / f"{MANIFEST_NAME}.partial"
    partial.write_text(manifest.to_json())
    partial.replace(out / MANIFEST_NAME)
    return manifest


def table(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """A row for each, in the order of steps, as JSON holds it."""
    ranks = {each.step: each for each in ranked(candidates)}
    return [
        {
            "step": each.step,
            "rank": ranks[each.step].rank,
            "scores": {
                score.name: round(score.value, 5) if math.isfinite(score.value) else None
                for score in each.scores
            },
            "vetoes": list(ranks[each.step].vetoes),
        }
        for each in candidates
    ]


def _chosen(every: Sequence[Candidate], pick: int) -> Candidate:
    step = pick or best(every)
    if step is None:
        vetoes = sorted({score.veto for each in every for score in each.scores if score.veto})
        raise ValueError(f"every candidate is ruled out ({'; '.join(vetoes)}); pick one by its step")
    found = next((each for each in every if each.step == step), None)
    if found is None:
        steps = ", ".join(str(each.step) for each in every)
        raise ValueError(f"there is no candidate of step {step}; there are {steps}")
    return found
