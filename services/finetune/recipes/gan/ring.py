"""Eight Gaussians in a ring: data of two numbers and two small networks, to watch a GAN fail in seconds."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from services.finetune.recipes.measures.sets import Points, nearest

MODES, DEVIATION = 8, 0.05
"""At distance 1 from the middle."""
LATENT, WIDTH = 8, 64
_SLOPE = 0.2
_WITHIN = 3 * DEVIATION
_LEAST = 0.02
"""Share of all points that makes a mode a covered one; an even share is 1/8."""


def centers() -> Tensor:
    """[modes, 2]."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def draw(count: int, chance: torch.Generator | None = None) -> Tensor:
    """[count, 2] of the data."""
    which = torch.randint(MODES, (count,), generator=chance)
    return centers()[which] + DEVIATION * torch.randn(count, 2, generator=chance)


def covered(points: Points) -> int:
    """Modes that enough of the points [n, 2] are in, within three deviations (Srivastava et al., 2017)."""
    which, apart = nearest(points, centers().numpy())
    counts = np.bincount(which[apart <= _WITHIN], minlength=MODES)
    return int((counts >= _LEAST * len(points)).sum())


def turned(points: Tensor, chance: Tensor) -> Tensor:
    """Points [n, 2] turned by any angle, each with a chance: the ring's augmentation."""
    n = len(points)
    angles = torch.rand(n) * (2 * math.pi) * (torch.rand(n) < chance)
    across = torch.stack((-points[:, 1], points[:, 0]), dim=1)
    return points * angles.cos()[:, None] + across * angles.sin()[:, None]


class Generator(nn.Module):
    """Latent vectors to points."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT, WIDTH),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(WIDTH, WIDTH),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(WIDTH, 2),
        )

    def forward(self, z: Tensor) -> Tensor:
        """[n, latent] -> [n, 2]."""
        points: Tensor = self.layers(z)
        return points


class Discriminator(nn.Module):
    """Says how real points look; while training it sees how much a batch varies, as that of avatars does."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2, WIDTH)
        self.hidden = nn.Linear(WIDTH + 1, WIDTH)
        self.last = nn.Linear(WIDTH, 1)

    def forward(self, points: Tensor) -> Tensor:
        """[n, 2] -> logits [n]."""
        x = functional.leaky_relu(self.enter(points), _SLOPE)
        varied = (x.var(dim=0, correction=0) + 1e-8).sqrt().mean() if self.training else x.new_zeros(())
        x = functional.leaky_relu(self.hidden(torch.cat((x, varied.expand(len(x), 1)), dim=1)), _SLOPE)
        logits: Tensor = self.last(x).squeeze(1)
        return logits
