"""Avatars with what they show as vectors, all of them on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor

from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.peeps.vector import ATTRIBUTES, OWNERS, vectors


class Attributed:
    """A folder of avatars at one size, to draw batches of."""

    def __init__(self, data: Peeps, size: int, device: torch.device) -> None:
        self._images = torch.from_numpy(data.at(size)).to(device)
        self._stated = torch.from_numpy(vectors(data.avatars)).to(device)
        self._owners = torch.tensor(OWNERS, device=device)

    def __len__(self) -> int:
        return len(self._images)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """``count`` avatars, by torch's random numbers: a GPU that draws its own need not be waited for."""
        return self.of(torch.randint(len(self), (count,), device=self._images.device))

    def of(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The avatars at ``places`` [n]: [n, 3, size, size] from -1 to 1 and [n, words] of 0 and 1."""
        here = places.to(self._images.device)
        return pictures(self._images[here]), self._stated[here].float()

    def forget(self, stated: Tensor, some: float, everything: float) -> Tensor:
        """[n, words] with each attribute left out with chance ``some``, all of a row with ``everything``."""
        device = stated.device
        is_told = torch.rand(len(stated), len(ATTRIBUTES), device=device) >= some
        is_told &= torch.rand(len(stated), 1, device=device) >= everything
        return stated * is_told[:, self._owners]
