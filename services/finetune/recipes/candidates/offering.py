"""How a recipe's candidates come to be: written, scored, noted, offered; and when it is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.ranking import is_worse_for
from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.watching import Alarm, Candidate, Preview, Score, Watcher

Learn = Callable[[int, np.random.Generator], Tensor]
"""A step, by its number and its own random numbers; returns its loss."""
ALARMS = {"drift": "drift", "nearest_training_distance": "memorization"}
"""What a veto of a score rings."""


class Enough(Exception):
    """The training may end where it is: candidates get no better."""


@dataclass(frozen=True)
class Judged:
    """What is found of a candidate."""

    scores: tuple[Score, ...]
    previews: tuple[Preview, ...]


class Trained(Protocol):
    """A model in training, as far as candidates are concerned."""

    def write(self, folder: Path) -> None:
        """A whole version with its manifest into an empty folder."""

    def judge(self) -> Judged:
        """Scores and previews of the model as it stands."""


class Offers:
    """Those of one training."""

    def __init__(self, work: Path, watcher: Watcher, keep: int = 0, patience: int = 0) -> None:
        """``keep``: of how many the files stay; ``patience``: how many may bring nothing better.

        0 is no limit: a job leaves both to its watcher, which knows what else is wanted.
        """
        self.candidates = Candidates(work)
        self._watcher, self._keep, self._patience = watcher, keep, patience
        self._is_over = False

    def again(self, until: int) -> None:
        """Offer those that were made up to step ``until`` once more: who follows may have missed them."""
        for candidate in self.candidates.all():
            if candidate.step <= until:
                self._offer(candidate)

    def make(self, step: int, trained: Trained) -> dict[str, float]:
        """The candidate of a step; returns its scores by name. One that is noted is not made again."""
        candidate = self.candidates.find(step)
        if candidate is None:
            folder = self.candidates.write(step, trained.write)
            judged = trained.judge()
            candidate = Candidate(step, folder, judged.scores, judged.previews)
            self.candidates.note(candidate)
            self._ring(candidate)
        self._offer(candidate)
        self.candidates.tidy(self._keep)
        return {each.name: each.value for each in candidate.scores}

    def check(self) -> None:
        """Raises Enough when the training may end here."""
        if self._is_over:
            raise Enough

    def _ring(self, candidate: Candidate) -> None:
        for score in candidate.scores:
            if score.veto:
                kind = ALARMS.get(score.name, "overfitting")
                figures = {score.name: score.value}
                self._watcher.alarmed(Alarm(kind, candidate.step, score.veto, figures, "ruled out"))

    def _offer(self, candidate: Candidate) -> None:
        # One whose files are gone was offered, and found no good.
        goes_on = self._watcher.offered(candidate) if candidate.folder.exists() else True
        until = [each for each in self.candidates.all() if each.step <= candidate.step]
        self._is_over = not goes_on or is_worse_for(until, self._patience)


def run_offering(course: Resumable, pace: Pace, offers: Offers, trained: Trained, learn: Learn) -> None:
    """Train to the end, or until it is enough, with a candidate every ``look_every`` steps.

    A checkpoint is written beside each, so that what was killed does little again. Raises what
    ``Resumable.run`` does.
    """
    offers.again(course.step)

    def checked(step: int, chance: np.random.Generator) -> Tensor:
        offers.check()
        return learn(step, chance)

    def look(step: int) -> dict[str, float]:
        scores = offers.make(step, trained)
        if step < pace.steps:  # the last step has its checkpoint anyway
            course.save()
        return scores

    try:
        course.run(pace, checked, look)
    except Enough:
        course.save()
