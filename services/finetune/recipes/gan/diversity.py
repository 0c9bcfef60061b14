"""How good and how varied made pictures are beside held-out ones.

At a glance, by few pictures, for the detectors; at length, by all that there are, for the curve. Features are
those of a peeps-clip version where one is named, else the pixels of small copies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.judge.judging import Judge, shrunk
from services.finetune.recipes.judge.vocabulary import Labels
from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.measures.sets import Points, coverage, kid
from services.finetune.recipes.measures.variety import Variety, entropy

GLANCE = 64
"""Pictures of a glance."""
_ANCHORS = 32
"""Held-out pictures that kinds of pictures are told by."""
_SIDE = 8
"""Pixels of a side of small copies: what is where in a picture, not how its lines run."""


class Diversity:
    """Holds made pictures against held-out ones."""

    def __init__(self, real: Tensor, clip: str, judge: str, device: torch.device) -> None:
        """``real``: [n, 3, s, s]; ``clip`` and ``judge``: folders of versions, or empty.

        Raises ValueError for a judge of larger pictures, FileNotFoundError for a folder that is no version.
        """
        self._features = Features(Path(clip), device) if clip else None
        self._judge = Judge(Path(judge), device) if judge else None
        self._points = self._of(real)
        few = self._points[:GLANCE]
        self._variety = Variety(few, few[:_ANCHORS])
        self._shown = self._said(real)

    def glance(self, made: Tensor) -> dict[str, float]:
        """Figures for the detectors of [GLANCE, 3, s, s]; see ``Variety`` and ``entropies``."""
        return {**self._variety.of(self._of(made)), **self._attributes(made, GLANCE)}

    def length(self, made: Tensor) -> dict[str, float]:
        """Kernel distance, precision and recall in features, coverage of attributes, by what is named."""
        found = self._attributes(made, len(self._points))
        if self._features is None:
            return found
        points, name = self._of(made), self._features.name
        near = coverage(points, self._points)
        return {
            f"kid@{name}": kid(points, self._points).mean,
            f"precision@{name}": near.precision,
            f"recall@{name}": near.recall,
            **found,
        }

    def _of(self, pictures: Tensor) -> Points:
        if self._features is not None:
            return self._features.of(pictures)
        return small(pictures)

    def _said(self, pictures: Tensor) -> Labels:
        return self._judge.says(pictures) if self._judge else np.zeros((0, 0), np.int64)

    def _attributes(self, made: Tensor, count: int) -> dict[str, float]:
        if self._judge is None:
            return {}
        return {"attributes": entropies(self._judge, self._said(made), self._shown[:count])}


def entropies(judge: Judge, made: Labels, real: Labels) -> float:
    """Entropy of the words that a judge says of made pictures, as a share of that of real ones.

    Mean over the attributes that it tells well; of as many pictures of both kinds: few show less.
    """
    columns = [place for place, name in enumerate(judge.words) if name in judge.counted]
    return float(np.mean([entropy(made[:, each]) / entropy(real[:, each]) for each in columns]))


def small(pictures: Tensor) -> Points:
    """[n, 3, s, s] -> [n, values] of copies of 8 pixels a side."""
    points: Points = shrunk(pictures, _SIDE).flatten(1).cpu().numpy()
    return points
