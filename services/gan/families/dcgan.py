"""A GAN of plain convolutions, after Radford et al., "DCGAN", 2015: the simple one.

Its style is the latent vector itself at unit length, its one layer; attributes and fine noise it does not
know.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

START = 4
"""Pixels of a side where synthesis begins and the discriminator ends."""
_SLOPE = 0.2
_DEVIATION = 0.02
"""Of the weights at the beginning, as in the paper."""


@dataclass(frozen=True)
class Config:
    """The networks' sizes."""

    size: int = 64
    """Pixels of a side."""
    latent: int = 128
    widths: tuple[int, ...] = (384, 192, 96, 48)
    """Channels of synthesis at 4 pixels, 8, 16 ... below ``size``."""
    critic_widths: tuple[int, ...] = (48, 96, 192, 384)
    """Channels of the discriminator behind each halving."""

    def __post_init__(self) -> None:
        """Raises ValueError where resolutions and widths differ."""
        if not self.size == START << len(self.widths) == START << len(self.critic_widths):
            raise ValueError(f"{self.widths} and {self.critic_widths} are no widths for {self.size} pixels")

    @property
    def attributes(self) -> int:
        """Width of the attribute vector: none."""
        return 0

    @property
    def width(self) -> int:
        """Width of a style."""
        return self.latent

    @property
    def layers(self) -> int:
        """Layers that take a style."""
        return 1

    @property
    def noise(self) -> int:
        """Width of a row of noise: none."""
        return 0


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)
        self.apply(_begin)

    def forward(self, z: Tensor) -> Tensor:
        """[n, latent] from N(0, 1) -> pictures [n, 3, size, size]."""
        made: Tensor = self.synthesis(self.mapping(z)[:, None])
        return made


class Mapping(nn.Module):
    """Latent vectors to styles."""

    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.width))
        """Style of the mean picture: the middle of the sphere."""

    def forward(self, z: Tensor) -> Tensor:
        """[n, latent] -> [n, width], every number 1 in the mean square."""
        return z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)


class Synthesis(nn.Module):
    """Styles to pictures."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, last = config.widths[0], config.widths[-1]
        self.channels = first
        self.enter = nn.Linear(config.width, first * START**2, bias=False)
        self.first = nn.BatchNorm2d(first)
        self.blocks = nn.ModuleList(
            nn.Sequential(_up(*each), nn.BatchNorm2d(each[1])) for each in pairwise(config.widths)
        )
        self.paint = nn.ConvTranspose2d(last, 3, 4, 2, 1)

    def forward(self, w: Tensor) -> Tensor:
        """[n, 1, width] -> [n, 3, size, size] from -1 to 1."""
        x = self.enter(w[:, 0]).reshape(-1, self.channels, START, START)
        x = functional.relu(self.first(x))
        for block in self.blocks:
            x = functional.relu(block(x))
        return torch.tanh(self.paint(x))


class Discriminator(nn.Module):
    """Says how real pictures look."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = config.critic_widths
        self.enter = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(*each, 4, 2, 1, bias=False), nn.BatchNorm2d(each[1]))
            for each in pairwise(widths)
        )
        self.leave = nn.Linear(widths[-1] * START**2, 1)
        self.apply(_begin)

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, size, size] from -1 to 1 -> logits [n], high for real."""
        x = functional.leaky_relu(self.enter(pictures), _SLOPE)
        for block in self.blocks:
            x = functional.leaky_relu(block(x), _SLOPE)
        logits: Tensor = self.leave(x.flatten(1))[:, 0]
        return logits


def _up(inputs: int, outputs: int) -> nn.Module:
    """Twice as many pixels a side."""
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)


def _begin(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=_DEVIATION)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=_DEVIATION)
