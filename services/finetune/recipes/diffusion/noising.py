"""Pictures at levels of noise, and what a network of velocities is to say of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.diffusion.schedulers.levels import Levels

_COUNT = 1000
_LAST = 0.99
"""How far the cosine runs: to a sigma of 64. At 1, schedulers that step in sigma would begin at 20 000."""


def cosine_levels() -> dict[str, Any]:
    """Cosine levels (Nichol and Dhariwal, 2021) as diffusers' ``scheduler_config.json`` writes them."""
    offset = 0.008
    places = np.arange(_COUNT + 1) / _COUNT * _LAST
    kept = np.cos((places + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = 1 - kept[1:] / kept[:-1]
    return {
        "num_train_timesteps": _COUNT,
        "trained_betas": [float(f"{each:.7g}") for each in betas],
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "clip_sample": True,
        "use_clipped_model_output": True,
    }


class Noising:
    """Mixes pictures with noise."""

    def __init__(self, levels: Levels, device: torch.device) -> None:
        self.count = levels.count
        squares = torch.from_numpy(levels.signal_squares)
        self._signal, self._noise = (each.sqrt().float().to(device) for each in (squares, 1 - squares))

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """Levels [count]: one from each of as many equal parts, so that every step sees all kinds."""
        shares = (np.arange(count) + chance.random(count)) / count
        levels = (chance.permutation(shares) * self.count).astype(np.int64)
        return torch.from_numpy(levels).to(self._signal.device)

    def mix(self, clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(noisy pictures, velocities) at ``level`` [n]."""
        signal, share = self.shares(level)
        return signal * clean + share * noise, signal * noise - share * clean

    def clean(self, noisy: Tensor, velocity: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(clean pictures, noise) that ``velocity`` says are in ``noisy``."""
        signal, share = self.shares(level)
        return signal * noisy - share * velocity, signal * velocity + share * noisy

    def left(self, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
        """The noise that ``noisy`` holds beside a picture, which may be cut to -1..1."""
        signal, share = self.shares(level)
        return (noisy - signal * clean) / share

    def shares(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, noise share) of ``level`` [n], to multiply pictures by."""
        return self._signal[level][:, None, None, None], self._noise[level][:, None, None, None]
