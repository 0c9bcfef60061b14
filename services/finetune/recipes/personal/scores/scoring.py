"""What is measured of a candidate of a personal fine-tune, all of it at fixed seeds and prompts.

Two measures need no other model: the loss on held-out pictures, and how far what is said of pictures of the
class has moved from the base. With an ``Eye`` there are four more, of the previews (``sights``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from services.common.pictures.writing import Format, write
from services.finetune.recipes.candidates.offering import Judged
from services.finetune.recipes.peeps.pictures import pixels
from services.finetune.recipes.personal.models.tunable import Told, Tunable, rows
from services.finetune.recipes.personal.scores.eye import Eye
from services.finetune.recipes.personal.scores.sights import Sights
from services.finetune.recipes.personal.wording import Wording
from services.finetune.recipes.watching import Better, Preview, Score

DRIFT = 0.5
"""Beyond it a candidate is ruled out. Of peeps-diffusion's fine-tunes with pictures of the class 0.05 to 0.2
was seen; without them 0.9 to 4, and then all that it paints of the class is the subject."""
_STEPS = 6
"""Of a preview: few, so that scores stay a small part of a training."""
_LEVELS = (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.95)
"""Shares of all levels that losses are measured at."""
_ROWS, _PRIOR_ROWS = 24, 8
_SHOWN = 128
"""Pixels that small pictures are enlarged to at least, to be looked at."""


@dataclass(frozen=True)
class Fixed:
    """Noisy pictures that every candidate is asked about."""

    clean: Tensor
    noise: Tensor
    level: Tensor
    told: Told

    @classmethod
    def of(cls, model: Tunable, clean: Tensor, told: Told, count: int, seed: int) -> Fixed:
        """``count`` rows, of pictures in turn; each is seen at all levels before one is seen again."""
        places = [number // len(_LEVELS) % len(clean) for number in range(count)]
        level = [int(_LEVELS[number % len(_LEVELS)] * model.count) for number in range(count)]
        chance = torch.Generator().manual_seed(seed)
        noise = torch.randn((count, *clean.shape[1:]), generator=chance).to(clean.device)
        return cls(clean[places], noise, torch.tensor(level, device=clean.device), rows(told, places))

    def answers(self, model: Tunable) -> tuple[Tensor, Tensor]:
        """(said, right)."""
        return model.kept(self.clean, self.noise, self.level, self.told)


class Scoring:
    """Made before the model has learnt anything: the base is what drift is from."""

    def __init__(
        self, model: Tunable, wording: Wording, held_out: tuple[Tensor, Told], prior: tuple[Tensor, Told]
    ) -> None:
        """``held_out`` and ``prior``: as the network sees them, with what is told of each."""
        self._model, self._wording = model, wording
        self._held_out = Fixed.of(model, *held_out, _ROWS, seed=1)
        self._prior = Fixed.of(model, *prior, _PRIOR_ROWS, seed=2)
        self._base, goal = self._prior.answers(model)
        self._base_error = functional.mse_loss(self._base, goal).item()
        self._sights: Sights | None = None

    def look_with(self, eye: Eye, learnt: Tensor, prior: Tensor) -> None:
        """Measure previews too, beside pictures [n, 3, size, size] that are learnt and those of the class."""
        self._sights = Sights(eye, self._wording, learnt, prior)

    def judge(self) -> Judged:
        """Scores and previews of what is kept now."""
        prompts = self._wording.of_subject()
        seeds = range(len(prompts))
        painted = self._model.painted(prompts, seeds, _STEPS)
        seen = self._sights.scores(painted) if self._sights is not None else []
        previews = [
            Preview(prompt, seed, _png(picture))
            for prompt, seed, picture in zip(prompts, seeds, painted, strict=True)
        ]
        return Judged((self._held_out_loss(), self._drift(), *seen), tuple(previews))

    def _held_out_loss(self) -> Score:
        said, goal = self._held_out.answers(self._model)
        return Score("held_out_loss", functional.mse_loss(said, goal).item(), Better.LOWER)

    def _drift(self) -> Score:
        """How far its words of the class moved, by the base's own error there."""
        said, _ = self._prior.answers(self._model)
        drift = functional.mse_loss(said, self._base).item() / self._base_error
        is_lost = drift > DRIFT
        veto = f"of its class it says other things than the base, by {drift:.2f}, at most {DRIFT:g}"
        return Score("drift", drift, Better.NEITHER, veto if is_lost else "")


def _png(picture: Tensor) -> bytes:
    shown = pixels(picture[None])[0]
    enlarge = -(-_SHOWN // len(shown))
    return write(shown.repeat(enlarge, axis=0).repeat(enlarge, axis=1), Format.PNG)
