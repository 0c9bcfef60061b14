"""A UNet over pixels with text: one network for all noise levels (Ho et al., 2020; Rombach et al., 2022).

Pictures are folded first: 2 x 2 pixels become one place with four times the channels, which costs a quarter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 16
_HEAD = 32
"""Channels of an attention head."""


@dataclass(frozen=True)
class Config:
    """The network's sizes."""

    size: int = 32
    """Pixels of a side."""
    channels: int = 3
    fold: int = 2
    widths: tuple[int, ...] = (64, 96, 128)
    """Channels at each resolution, each half the one before."""
    blocks: int = 2
    """Residual blocks at each resolution, on the way down; one more on the way up."""
    attends: tuple[bool, ...] = (False, True, True)
    """Whether places look at each other at a resolution; all look at the text."""
    text_width: int = 160
    """Width of the text encoder's states."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Config:
        """From JSON. Raises TypeError for unknown fields."""
        fields: Any = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        return cls(**fields)


class Unet(nn.Module):
    """Says what is in a noisy picture (a velocity), given its level and a text."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths, folded = config.widths, config.channels * config.fold**2
        time = 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], time), nn.SiLU(), nn.Linear(time, time))
        self.enter = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, wide in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(Stage(config, level, width, wide))
                skips.append(width := wide)
            if level + 1 < len(widths):
                self.down.append(nn.Conv2d(wide, wide, 3, stride=2, padding=1))
                skips.append(wide)
        self.middle = Stage(config, len(widths) - 1, width, width)
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(config, level, width + skips.pop(), wide))
                width = wide
            if level:
                self.up.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.leave = nn.Conv2d(width, folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[n, channels, size, size] of noisy pictures -> the same shape.

        ``timestep`` [n], 0 .. 999; ``text`` [n, tokens, text_width]; ``mask`` [n, tokens], true for tokens.
        """
        time = self.time(frequencies(timestep, self.config.widths[0]))
        shown = torch.zeros(mask.shape, dtype=text.dtype, device=text.device).masked_fill(~mask, -1e4)
        shown = shown[:, None, None, :]
        x = self.enter(functional.pixel_unshuffle(sample, self.config.fold))
        kept = [x]
        for each in self.down:
            x = each(x, time, text, shown) if isinstance(each, Stage) else each(x)
            kept.append(x)
        x = self.middle(x, time, text, shown)
        for each in self.up:
            if isinstance(each, Stage):
                x = each(torch.cat((x, kept.pop()), dim=1), time, text, shown)
            else:
                x = each(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.leave(functional.silu(self.norm(x)))
        return functional.pixel_shuffle(x, self.config.fold)


class Stage(nn.Module):
    """A residual block, then attention: to other places where the resolution allows, and to the text."""

    def __init__(self, config: Config, level: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = Block(inputs, outputs, 4 * config.widths[0])
        self.places = Attention(outputs, outputs) if config.attends[level] else None
        self.words = Attention(outputs, config.text_width)

    def forward(self, x: Tensor, time: Tensor, text: Tensor, shown: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h, w]."""
        x = self.block(x, time)
        if self.places is not None:
            x = self.places(x, None, None)
        told: Tensor = self.words(x, text, shown)
        return told


class Block(nn.Module):
    """Two convolutions beside a straight way, told the noise level between them."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, 2 * outputs)
        self.norm_out = nn.GroupNorm(_GROUPS, outputs)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.straight = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h, w]."""
        y = self.conv_in(functional.silu(self.norm_in(x)))
        scale, shift = self.time(functional.silu(time))[:, :, None, None].chunk(2, dim=1)
        y = self.norm_out(y) * (1 + scale) + shift
        result: Tensor = self.straight(x) + self.conv_out(functional.silu(y))
        return result


class Attention(nn.Module):
    """Places ask, places or words answer."""

    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.heads = width // _HEAD
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(source, width, bias=False)
        self.v = nn.Linear(source, width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, text: Tensor | None, shown: Tensor | None) -> Tensor:
        """[n, width, h, w]; ``text`` [n, tokens, source] or None for the places themselves."""
        n, width, high, wide = x.shape
        places = self.norm(x).flatten(2).transpose(1, 2)
        source = places if text is None else text
        q, k, v = (
            each.unflatten(2, (self.heads, width // self.heads)).transpose(1, 2)
            for each in (self.q(places), self.k(source), self.v(source))
        )
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=shown)
        seen: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return x + seen.transpose(1, 2).reshape(n, width, high, wide)


def frequencies(timestep: Tensor, width: int) -> Tensor:
    """[n] -> [n, width] of cosines and sines (Vaswani et al., 2017)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=timestep.device) * (-math.log(10_000) / half))
    angles = timestep.float()[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), dim=1)
