"""A small convolutional network with a softmax head for each attribute (residual: He et al., 2016).

Pictures are folded first: 2 x 2 pixels become one place with four times the channels. What is left of the
picture at the end is not averaged: where something is tells what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8
_FOLD = 2


@dataclass(frozen=True)
class Config:
    """The network's sizes."""

    classes: tuple[int, ...]
    """Words of each attribute."""
    size: int = 32
    """Pixels of a side."""
    widths: tuple[int, ...] = (40, 56, 56)
    """Channels at each resolution, the first at half the picture's, each half the one before."""


class Network(nn.Module):
    """Says how likely each word of each attribute is."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.enter = nn.Conv2d(3 * _FOLD**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width) for width in widths)
        self.halve = nn.ModuleList(
            nn.Conv2d(wide, following, 3, stride=2, padding=1) for wide, following in pairwise(widths)
        )
        self.norm = nn.GroupNorm(_GROUPS, widths[-1])
        left = config.size // _FOLD // 2 ** (len(widths) - 1)
        self.heads = nn.Linear(widths[-1] * left**2, sum(config.classes))

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, size, size] from -1 to 1 -> logits [n, all words], attribute after attribute."""
        x = self.enter(functional.pixel_unshuffle(pictures, _FOLD))
        for place, block in enumerate(self.blocks):
            x = block(self.halve[place - 1](x) if place else x)
        logits: Tensor = self.heads(functional.relu(self.norm(x)).flatten(1))
        return logits

    def split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """[n, all words] -> [n, words] of each attribute."""
        return torch.split(logits, list(self.config.classes), dim=1)

    def says(self, pictures: Tensor) -> Tensor:
        """Places [n, attributes] of the likeliest words."""
        return torch.stack([each.argmax(1) for each in self.split(self(pictures))], dim=1)


class Block(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = nn.GroupNorm(_GROUPS, width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] -> the same shape."""
        y = self.conv_in(functional.relu(self.norm_in(x)))
        seen: Tensor = self.conv_out(functional.relu(self.norm_out(y)))
        return x + seen
