"""The drawings that a generator learnt from, to look for copies among what it makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.measures.sets import Distances, Places, Points, nearest
from services.finetune.recipes.peeps.drawing import Pixels, at_size
from services.finetune.recipes.peeps.pictures import pictures, pixels

_ROWS = 2000


@dataclass(frozen=True)
class Neighbours:
    """Of each picture the nearest drawing, by one measure."""

    places: Places
    distances: Distances


class Learnt:
    """All those drawings [n, s, s, 3], brought to the size of what is made."""

    def __init__(self, drawings: Pixels, size: int, features: Features) -> None:
        self._images = at_size(drawings, size)
        self._features = features
        parts = [self._images[begin : begin + _ROWS] for begin in range(0, len(drawings), _ROWS)]
        self._points = np.concatenate([features.of(pictures(part)) for part in parts])

    def at(self, places: Places) -> Tensor:
        """Drawings [n, 3, size, size]."""
        return pictures(self._images[places])

    def by_features(self, made: Tensor) -> Neighbours:
        """Euclidean, between features."""
        return Neighbours(*nearest(self._features.of(made), self._points))

    def by_pixels(self, made: Tensor) -> Neighbours:
        """Root of the mean square, between bytes (0 .. 255)."""
        flat = _flat(pixels(made))
        places, distances = nearest(flat, _flat(self._images))
        return Neighbours(places, distances / flat.shape[1] ** 0.5)


def _flat(images: Pixels) -> Points:
    flat: Points = images.reshape(len(images), -1)
    return flat
