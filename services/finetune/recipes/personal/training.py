"""The steps of a personal fine-tune: pictures of the subject, and of its class beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.candidates.offering import Judged
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.descent import descend
from services.finetune.recipes.personal import prior as priors
from services.finetune.recipes.personal.models.tunable import Told, Tunable, rows
from services.finetune.recipes.personal.photos import Photo, Subject, fitted, mirrored
from services.finetune.recipes.personal.scores.eye import Eye
from services.finetune.recipes.personal.scores.scoring import Scoring
from services.finetune.recipes.personal.wording import Wording
from services.finetune.recipes.resumable import Stateful
from services.finetune.recipes.watching import Watcher


class Training:
    """What a step learns."""

    def __init__(
        self, model: Tunable, subject: Subject, options: Options, work: Path, watcher: Watcher
    ) -> None:
        """Makes pictures of the class where the work folder has none. Raises Stopped if asked to."""
        self.model, self.options = model, options
        self.wording = Wording.of(options)
        self._rate = options.rate or model.rate
        learnt = fitted(subject.learnt, model.size)
        self._learnt = model.seen(learnt)
        prior = priors.made(model, self.wording.kind, options.prior_images, work, watcher)
        self._prior = model.seen(prior)
        self.captions = [self._told_of(photo) for photo in subject.learnt]
        texts = [each for captions in self.captions for each in captions]
        held_out = [self._told_of(photo)[0] for photo in subject.held_out]
        told = model.told([*texts, *held_out, self.wording.kind])
        self._texts = rows(told, range(len(texts)))
        self._of_class = rows(told, [-1])
        of_held_out = rows(told, range(len(texts), len(texts) + len(held_out)))
        measured = model.seen(fitted(subject.held_out, model.size))
        every = rows(self._of_class, [0] * len(self._prior))
        self.scoring = Scoring(model, self.wording, (measured, of_held_out), (self._prior, every))
        self._for_eyes = learnt, prior
        self.optimiser = torch.optim.AdamW(model.learned, lr=self._rate, weight_decay=0.0)

    def look_with(self, eye: Eye) -> None:
        """Score what previews look like, too."""
        self.scoring.look_with(eye, *self._for_eyes)

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What a checkpoint holds."""
        return {**self.model.parts, "optimiser": self.optimiser}

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self.options
        clean, told = self._batch(chance)
        parts = [options.batch, self._of_prior]
        level = torch.cat([self.model.draw(count, chance) for count in parts if count])
        said, goal = self.model.outcome(clean, torch.randn_like(clean), level, told)
        errors = (said - goal).square().flatten(1).mean(1)
        loss = errors[: options.batch].mean()
        if self._of_prior:
            loss = loss + options.prior_weight * errors[options.batch :].mean()
        rate = self._rate * min(1.0, (step + 1) / max(options.warm_up, 1))
        learnt = descend(self.optimiser, rate, loss)
        self.model.follow(step)
        return learnt

    def judge(self) -> Judged:
        """Of what is kept now."""
        return self.scoring.judge()

    @property
    def _of_prior(self) -> int:
        return self.options.prior_batch if self.options.prior_weight else 0

    def _batch(self, chance: np.random.Generator) -> tuple[Tensor, Told]:
        """The subject's pictures, then those of the class, with their texts."""
        options = self.options
        count = len(self._learnt)
        places = chance.choice(count, options.batch, replace=count < options.batch)
        own = mirrored(self._learnt[places], options.flip, list(chance.random(options.batch)))
        firsts = np.cumsum([0, *map(len, self.captions)])
        ways = [int(firsts[each] + chance.integers(len(self.captions[each]))) for each in places]
        others = chance.choice(len(self._prior), self._of_prior, replace=len(self._prior) < self._of_prior)
        clean = torch.cat((own, self._prior[others]))
        own_texts, kind = rows(self._texts, ways), rows(self._of_class, [0] * self._of_prior)
        return clean, {name: torch.cat((own_texts[name], kind[name])) for name in own_texts}

    def _told_of(self, photo: Photo) -> list[str]:
        return [self.wording.caption(each) for each in photo.captions] or [self.wording.instance]
