"""Where the checkpoints of a job stand once there is a new one: ranks, vetoes, the best, whose files go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.recipes.candidates.ranking import beyond, is_worse_for, ranked


@dataclass(frozen=True)
class Standings:
    """Of all checkpoints of a job."""

    checkpoints: tuple[Checkpoint, ...]
    """By step, with their ranks; those whose files go have a size of 0."""
    gone: tuple[int, ...]
    """Steps whose files are not to be kept."""

    @property
    def best(self) -> str:
        """Id of the best; "" when none is good."""
        return next((each.checkpoint_id for each in self.checkpoints if each.best), "")

    def is_worse_for(self, patience: int) -> bool:
        """Whether the newest ``patience`` ones brought nothing better."""
        return is_worse_for(self.checkpoints, patience)


def standings(checkpoints: Sequence[Checkpoint], keep: int) -> Standings:
    """Rank them all anew; ``keep`` of them, the best, keep their files, and the promoted one."""
    gone = set(beyond(checkpoints, keep)) - {each.step for each in checkpoints if each.promoted}
    by_step = {each.step: each for each in checkpoints}
    found = []
    for standing in ranked(checkpoints):
        before = by_step[standing.step]
        found.append(
            replace(
                before,
                rank=standing.rank,
                best=standing.rank == 1,
                veto_reason="; ".join(standing.vetoes),
                size_bytes=0 if standing.step in gone else before.size_bytes,
            )
        )
    return Standings(tuple(sorted(found, key=lambda each: each.step)), tuple(sorted(gone)))


def place_of(name: str, checkpoint: Checkpoint, others: Sequence[Checkpoint]) -> int:
    """Its place among the others by one score; 1 is the best, 0 where nothing is ranked by it."""
    return next(
        (each.places.get(name, 0) for each in ranked(others) if each.step == checkpoint.step),
        0,
    )
