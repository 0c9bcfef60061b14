"""A checkpoint as the database knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.finetune.recipes.watching import Score


@dataclass(frozen=True)
class KeptPreview:
    """An output with a fixed prompt and seed. ``file``: name of its picture in the job's folder, or ""."""

    prompt: str
    seed: int
    text: str = ""
    file: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Of one step of a job."""

    job_id: str
    checkpoint_id: str
    step: int
    rank: int
    """1 is the best; 0: not ranked."""
    scores: tuple[Score, ...]
    veto_reason: str
    best: bool
    promoted: bool
    previews: tuple[KeptPreview, ...]
    size_bytes: int
    """0: its files are gone."""
    digest: str
    create_time: datetime


def checkpoint_id(job_id: str, step: int) -> str:
    """The job's, and the step."""
    return f"{job_id}-{step}"
