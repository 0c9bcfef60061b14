"""The persons that fine-tunes are measured on: a few views to learn from, others to be recognised by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.drawing import at_size
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.personal.photos import Photo

FOLDER = Path(__file__).parent / "persons"
VIEWS, LEARNT = 15, 8
"""Of each person, and how many of them are learnt from."""


@dataclass(frozen=True)
class Person:
    """One of them."""

    photos: list[Photo]
    avatar: Avatar
    """The first view's."""

    def told(self) -> str:
        """Who it is in words that the base model knows, without what changes from view to view."""
        parts = [each.strip() for each in full_caption(self.avatar).split(",")]
        lasting = ", ".join(each for each in parts if not each.endswith((" shirt", " background")))
        return re.sub(r"\ban? [\w-]+ person\b", "a person", lasting)


def read(folder: Path, count: int) -> tuple[list[Person], Peeps]:
    """The first ``count`` persons of a folder. Raises ValueError where it holds fewer."""
    drawn = Peeps(folder)
    if len(drawn) < count * VIEWS:
        raise ValueError(f"{folder} holds {len(drawn)} views, {count} persons have {count * VIEWS}")
    people = []
    for first in range(0, count * VIEWS, VIEWS):
        views = range(first, first + LEARNT)
        photos = [Photo(f"{place}", np.asarray(drawn.images[place])) for place in views]
        people.append(Person(photos, drawn.avatars[first]))
    return people, drawn


class Recognition:
    """Who is on a picture: the person with the nearest held-out view, by features."""

    def __init__(self, drawn: Peeps, count: int, size: int, features: Features) -> None:
        self._features = features
        places = [place for place in range(count * VIEWS) if place % VIEWS >= LEARNT]
        self._owners = torch.tensor([place // VIEWS for place in places])
        self._views = self._points(pictures(at_size(drawn.images[places], size)))

    def who(self, painted: Tensor) -> list[int]:
        """Number of the person on each of [n, 3, size, size]."""
        nearest = torch.cdist(self._points(painted), self._views).argmin(1)
        return [int(each) for each in self._owners[nearest]]

    def _points(self, shown: Tensor) -> Tensor:
        return torch.from_numpy(self._features.of(shown))
