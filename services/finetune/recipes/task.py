"""What a recipe is asked to do: data and base as folders of this machine, parameters, a folder to work in.

Every recipe that a job may run has a function ``run(task: Task, watcher: Watcher) -> None``. It leaves
candidates, whole versions, in ``task.candidate(step)`` and offers them to the watcher; run again in the same
work folder it goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from services.common.store import MANIFEST_NAME
from services.finetune.recipes.watching import Candidate, Score, Watcher

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from services.common.store import Manifest

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Task:
    """Paths are absolute; nothing but ``work`` is written to."""

    work: Path
    """Checkpoints, candidates, whatever is to be found again after a kill. This task's alone."""
    data: Path | None = None
    """The files of the data set, at the paths that they were uploaded with. None: the recipe reads none."""
    validation: Path | None = None
    """Another such folder to score on. None: the recipe holds a share out."""
    base: Path | None = None
    """The files of the version to start from. None: from nothing."""
    base_version: str = ""
    """Its name:version, for ``parent``."""
    aids: Mapping[str, Path] = field(default_factory=dict)
    """Versions that the recipe looks with, by the option that takes their folder; some may not be there."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """By name, the preset's filled in; each is one of the recipe's Options."""
    steps: int = 0
    """0: the recipe has no steps."""
    seed: int = 1
    checkpoint_every: int = 0
    """Steps from one candidate to the next; 0: the recipe's."""
    keep: int = 5
    """Candidates whose files stay, the best ones; at least 1."""
    patience: int = 0
    """Candidates without a better one after which the training ends; 0: it goes on."""
    threads: int = 1
    device: str = "auto"
    training_data: str = ""
    """What the data set is, in a sentence."""

    def candidate(self, step: int) -> Path:
        """The folder of the candidate of a step."""
        return self.work / "candidates" / f"{step:06d}"

    def options(self, kind: type[T], **more: Any) -> T:
        """The recipe's Options: parameters, and of steps, seed, threads, device what it has; and ``more``."""
        known = {each.name for each in fields(kind)}
        own: dict[str, Any] = {"seed": self.seed, "threads": self.threads, "device": self.device}
        own |= {name: str(folder) for name, folder in self.aids.items()}
        if self.steps:
            own["steps"] = self.steps
        given = {**{name: value for name, value in own.items() if name in known}, **self.parameters, **more}
        return kind(**given)


def is_whole(folder: Path) -> bool:
    """Whether a version stands there: its manifest is written last."""
    return (folder / MANIFEST_NAME).exists()


def offer_result(watcher: Watcher, step: int, folder: Path, manifest: Manifest) -> None:
    """Offer what a recipe ends with, its metrics as scores that nothing is ranked by."""
    scores = tuple(Score(name, value) for name, value in manifest.metrics.items())
    watcher.offered(Candidate(step, folder, scores))
