"""Augmentations that both networks see, as often as the discriminator needs (Karras et al., "ADA", 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_REACH = 0.125
"""The farthest that a picture is moved, as a share of its side."""
_MOST = 0.8
"""Beyond it a generator learns the augmentations."""
_RAMP = 200_000
"""Pictures over which the chance could go from 0 to 1."""
_MEMORY = 0.05
"""Weight of a step in the running mean of signs."""
_BRIGHTNESS, _CONTRAST, _COLOR = 0.2, 0.25, 0.3
"""Standard deviations; the last two are of logarithms."""


Change = Callable[[Tensor, Tensor], Tensor]
"""Examples [n, ...] and the chance of each change, to examples of the same shape."""


def pictures_changed(pictures: Tensor, chance: Tensor) -> Tensor:
    """Flips, moves and colours of pictures [n, 3, size, size]."""
    return _color(_move(pictures, chance), chance)


class Augmentation(nn.Module):
    """Changes, each with a chance that is steered."""

    chance: Tensor
    sign: Tensor

    def __init__(self, target: float, change: Change = pictures_changed) -> None:
        """``target``: mean sign of the logits of real examples that is held; 0 augments nothing."""
        super().__init__()
        self.target = target
        self._change = change
        self.register_buffer("chance", torch.zeros(()))
        self.register_buffer("sign", torch.zeros(()))

    def forward(self, examples: Tensor) -> Tensor:
        """[n, ...] -> the same shape."""
        return self._change(examples, self.chance) if self.target else examples

    @torch.no_grad()
    def steer(self, real: Tensor) -> None:
        """More where the logits [n] of real examples are too sure, less where they are not."""
        self.sign.lerp_(real.sign().mean(), _MEMORY)
        if self.target:
            self.chance += (self.sign - self.target).sign() * (len(real) / _RAMP)
            self.chance.clamp_(0, _MOST)


def _happens(pictures: Tensor, chance: Tensor) -> Tensor:
    return torch.rand(len(pictures), device=pictures.device) < chance


def _move(pictures: Tensor, chance: Tensor) -> Tensor:
    """Flip from left to right, shift by whole pixels; what comes in at a side is what is seen there."""
    n, channels, size, _ = pictures.shape
    device = pictures.device
    most = int(size * _REACH)
    shifts = torch.randint(-most, most + 1, (2, n), device=device) * _happens(pictures, chance)
    places = (torch.arange(size, device=device) + shifts[..., None]).clamp(0, size - 1)
    is_flipped = _happens(pictures, chance) & (torch.rand(n, device=device) < 0.5)
    columns = torch.where(is_flipped[:, None], size - 1 - places[1], places[1])
    rows = places[0][:, None, :, None].expand(n, channels, size, size)
    return pictures.gather(2, rows).gather(3, columns[:, None, None, :].expand_as(rows))


def _color(pictures: Tensor, chance: Tensor) -> Tensor:
    """Change brightness, contrast and how much colour there is."""
    brightness, contrast, color = (
        (torch.randn(len(pictures), device=pictures.device) * deviation * _happens(pictures, chance))
        for deviation in (_BRIGHTNESS, _CONTRAST, _COLOR)
    )
    gray = pictures.mean(dim=1, keepdim=True)
    colored = gray + (pictures - gray) * color.exp()[:, None, None, None]
    return colored * contrast.exp()[:, None, None, None] + brightness[:, None, None, None]
