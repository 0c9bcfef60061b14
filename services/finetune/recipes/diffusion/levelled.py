"""Diffusion over a few levels of noise, by a network for each level or by one that is told the level.

The lecture's first form has T networks: the one of level k is shown pictures at level k and says what they
were at level k - 1. What is learnt here is the velocity (Salimans and Ho, 2022), which the picture a level
down follows from by a line of arithmetic; it is as large at every level, so that losses compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from services.diffusion.networks.unet import Config, Unet
from services.diffusion.schedulers.ddim import ddim_path
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.diffusion.noising import Noising, cosine_levels


class Ladder:
    """The levels: T of the thousand that diffusion models are trained on, evenly spaced."""

    def __init__(self, count: int, device: torch.device) -> None:
        """Raises ValueError for a count that the thousand do not have."""
        levels = Levels.of_config(cosine_levels())
        if not 0 < count <= levels.count:
            raise ValueError(f"there are 1 to {levels.count} levels, not {count}")
        self.timesteps = [int(each) for each in reversed(ddim_path(levels, count).timesteps)]
        """What a network is told of each level, from the least noise to the most."""
        self._noising = Noising(levels, device)
        self._device = device

    def __len__(self) -> int:
        return len(self.timesteps)

    def told(self, places: Sequence[int]) -> Tensor:
        """Timesteps [n] of levels by their place."""
        return torch.tensor([self.timesteps[place] for place in places], device=self._device)

    def up(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """(pictures at a level, their velocities)."""
        return self._noising.mix(clean, noise, timestep)

    @torch.no_grad()
    def down(self, network: nn.Module, noise: Tensor) -> Tensor:
        """Pictures [n, 3, size, size] from noise, a level at a time (DDIM, Song et al., 2021)."""
        x = noise
        for place, below in pairwise([*reversed(range(len(self))), None]):
            timestep = self.told([place or 0] * len(x))
            clean, _ = self._noising.clean(x, network(x, timestep).float(), timestep)
            clean = clean.clamp(-1, 1)
            left = self._noising.left(x, clean, timestep)
            x = clean if below is None else self.up(clean, left, self.told([below] * len(x)))[0]
        return x


class Told(nn.Module):
    """One network that is told the level."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.unet = Unet(config)

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Velocities of ``sample`` at ``timestep`` [n]; no text is told."""
        n, width = len(sample), self.unet.config.text_width
        text = torch.zeros(n, 1, width, device=sample.device)
        velocity: Tensor = self.unet(sample, timestep, text, torch.ones_like(text[..., 0], dtype=torch.bool))
        return velocity


class PerLevel(nn.Module):
    """A network for each level."""

    def __init__(self, config: Config, timesteps: Sequence[int]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({str(each): Told(config) for each in timesteps})

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Velocities of ``sample``, all at the level of the first of ``timestep`` [n]."""
        velocity: Tensor = self.networks[str(int(timestep[0]))](sample, timestep)
        return velocity


def places(step: int, count: int, levels: int, apart: bool, chance: np.random.Generator) -> list[int]:
    """Levels of a batch: all of them alike often, or, where networks learn ``apart``, one after the other."""
    if apart:
        return [step % levels] * count
    return [int(each) for each in chance.permutation((np.arange(count) + chance.integers(levels)) % levels)]
