"""What an eye sees in the previews of a personal fine-tune."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from services.finetune.recipes.personal.scores.eye import Eye
from services.finetune.recipes.personal.wording import Wording
from services.finetune.recipes.watching import Better, Score

COPIED = 0.5
"""Below it a candidate is ruled out: half of the previews are so much nearer to a picture learnt from than
those are to each other. Of fine-tunes with pictures of the class 0.65 and more was seen; of whole networks
that learnt two pictures and nothing else 0.2 to 0.65."""
_ALIKE = 0.05
"""Pictures that are nearer to each other than this share of what others are give no measure of distances."""


class Sights:
    """Beside pictures that are learnt from and those of the class."""

    def __init__(self, eye: Eye, wording: Wording, learnt: Tensor, prior: Tensor) -> None:
        """Pictures are [n, 3, size, size] from -1 to 1."""
        self._eye = eye
        self._learnt, others = eye.features(learnt), eye.features(prior)
        # How much more than any of its class a picture shows what was asked: the cosine with a text alone
        # tells more of the text than of the picture.
        self._asked = eye.read(wording.of_class()) - eye.read([wording.kind])
        self._centre, self._spread = others.mean(0), spread(others)
        self._near = unit(self._learnt, others)

    def scores(self, painted: Tensor) -> list[Score]:
        """Of previews, in the order of their prompts."""
        seen = self._eye.features(painted)
        likeness = (
            functional.normalize(seen - self._centre) @ functional.normalize(self._learnt - self._centre).T
        )
        fidelity = (self._eye.projected(seen) * self._asked).sum(1)
        near = torch.cdist(seen, self._learnt).min(1).values.median().item() / self._near
        veto = f"previews copy pictures learnt from: as near as {near:.2f}, at least {COPIED:g}"
        return [
            Score("subject_similarity", likeness.mean().item(), Better.HIGHER),
            Score("prompt_fidelity", fidelity.mean().item(), Better.HIGHER),
            # Shown only: what makes previews differ is what they were asked for, which fidelity ranks by.
            Score("diversity", spread(seen) / self._spread),
            Score("nearest_training_distance", near, Better.NEITHER, veto if near < COPIED else ""),
        ]


def spread(points: Tensor) -> float:
    """Mean distance of two different ones of [n, d]; 0 for one alone."""
    return torch.cdist(points, points).sum().item() / max(len(points) * (len(points) - 1), 1)


def unit(learnt: Tensor, others: Tensor) -> float:
    """How near pictures are to the nearest other one: those learnt from, unless they are too alike."""
    among = _nearest(others)
    own = _nearest(learnt) if len(learnt) > 1 else 0.0
    return own if own > _ALIKE * among else among


def _nearest(points: Tensor) -> float:
    """Median distance of the nearest other one of [n, d], n at least 2."""
    apart = torch.cdist(points, points)
    apart.fill_diagonal_(float("inf"))
    return apart.min(1).values.median().item()
