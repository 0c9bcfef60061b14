"""Latents at levels of noise, and what a network is to say of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from services.diffusion.schedulers.levels import Levels, Prediction
from services.finetune.recipes.diffusion.noising import Noising


class Noisy(Protocol):
    """How a network was trained."""

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """Levels [count] to learn at."""
        ...

    def mix(self, clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(noisy latents, what is right to say of them) at ``level`` [n]."""
        ...


class Variance:
    """Shares of signal and noise whose squares add up to 1 (Ho et al., 2020)."""

    def __init__(self, levels: Levels, device: torch.device) -> None:
        self._noising, self._prediction = Noising(levels, device), levels.prediction

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """Evenly over all levels."""
        return self._noising.draw(count, chance)

    def mix(self, clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Noisy``."""
        noisy, velocity = self._noising.mix(clean, noise, level)
        if self._prediction is Prediction.VELOCITY:
            return noisy, velocity
        return noisy, noise if self._prediction is Prediction.NOISE else clean


class Flow:
    """Shares that add up to 1; said is the way from the picture to the noise (Lipman et al., 2023)."""

    def __init__(self, levels: Levels, device: torch.device) -> None:
        self._count, self._device = levels.count, device

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """The middle levels most often (Esser et al., 2024, section 3.1)."""
        shares = 1 / (1 + np.exp(-chance.standard_normal(count)))
        return torch.from_numpy((shares * self._count).astype(np.float32)).to(self._device)

    def mix(self, clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Noisy``."""
        share = (level / self._count)[:, None, None, None]
        return (1 - share) * clean + share * noise, noise - clean


def noisy_of(levels: Levels, device: torch.device) -> Noisy:
    """As the levels say."""
    kind = Flow if levels.prediction is Prediction.FLOW else Variance
    return kind(levels, device)
