"""An upscaler: twice as many pixels a side at a time, by residual blocks (Lim et al., "EDSR", 2017).

It adds what is missing to the picture enlarged by its nearest pixels, so flat colours stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """The network's sizes."""

    channels: int = 3
    width: int = 48
    blocks: int = 8


class Upscaler(nn.Module):
    """Doubles a picture."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.blocks))
        self.leave = nn.Conv2d(config.width, 4 * config.channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, picture: Tensor) -> Tensor:
        """[n, channels, h, w] from -1 to 1 -> [n, channels, 2h, 2w]."""
        x = self.enter(picture)
        for block in self.blocks:
            x = block(x)
        near = functional.interpolate(picture, scale_factor=2.0, mode="nearest")
        return near + functional.pixel_shuffle(self.leave(x), 2)


class Block(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= 0.1

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] -> the same shape."""
        seen: Tensor = self.second(functional.relu(self.first(x)))
        return x + seen
