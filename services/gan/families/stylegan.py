"""A style-based GAN for small pictures, after the paper of StyleGAN2 (Karras et al., 2020).

A mapping network makes a style of a latent vector and of attributes; synthesis lets the style scale the
channels of every convolution; each resolution adds its part of the picture. Not the channels of the weights
are scaled but the activations, which is the same and leaves a plain convolution for any number of pictures.
Weights are drawn from N(0, 1) and scaled where they are used (equalised rates; Karras et al., 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

START = 4
"""Pixels of a side where synthesis begins and the discriminator ends."""
_SLOPE = 0.2
_GAIN = math.sqrt(2)
"""Keeps the size of activations through a leaky ReLU."""
_STATED = 10
"""Attributes that are stated of a picture, about."""
_GROUP = 4
"""Pictures that the discriminator compares with each other."""


@dataclass(frozen=True)
class Config:
    """The networks' sizes."""

    size: int = 64
    """Pixels of a side."""
    latent: int = 128
    attributes: int = 78
    """Width of the attribute vector."""
    width: int = 128
    """Width of a style, w."""
    depth: int = 4
    """Layers of the mapping network."""
    widths: tuple[int, ...] = (192, 192, 160, 128, 64)
    """Channels of synthesis at 4 pixels, 8, 16 ... up to ``size``."""
    critic_widths: tuple[int, ...] = (160, 160, 128, 96, 64)
    """Channels of the discriminator at the same resolutions."""
    features: int = 192
    """Width of what the discriminator decides by."""

    def __post_init__(self) -> None:
        """Raises ValueError where resolutions and widths differ."""
        if not self.size == START << (len(self.widths) - 1) == START << (len(self.critic_widths) - 1):
            raise ValueError(f"{self.widths} and {self.critic_widths} are no widths for {self.size} pixels")

    @classmethod
    def of(cls, size: int, attributes: int, finest: int, most: int) -> Config:
        """Networks with ``finest`` channels at ``size`` pixels, twice as many a level below, up to ``most``.

        Raises ValueError for a size that is not 8, 16, 32 ...
        """
        levels = (size // START).bit_length()
        widths = tuple(min(finest << (levels - 1 - level), most) for level in range(levels))
        return cls(size=size, attributes=attributes, widths=widths, critic_widths=widths)

    @property
    def sides(self) -> tuple[int, ...]:
        """Pixels of a side at each layer of synthesis, which each take a style."""
        return (START, *(START << level for level in range(1, len(self.widths)) for _ in range(2)))

    @property
    def places(self) -> tuple[int, ...]:
        """Values of noise that each layer takes; their sum is the width of a row of noise."""
        return tuple(side * side for side in self.sides)

    @property
    def layers(self) -> int:
        """Layers of synthesis."""
        return len(self.sides)

    @property
    def noise(self) -> int:
        """Width of a row of noise."""
        return sum(self.places)


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)

    def forward(self, z: Tensor, attributes: Tensor, noise: Tensor) -> Tensor:
        """[n, latent], [n, attributes], [n, places] -> pictures [n, 3, size, size]."""
        w: Tensor = self.mapping(z, attributes)
        made: Tensor = self.synthesis(w[:, None].expand(-1, len(self.config.sides), -1), noise)
        return made


class Mapping(nn.Module):
    """Latent vectors to styles."""

    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = Linear(config.attributes, config.width, math.sqrt(config.attributes / _STATED))
        inputs = [config.latent + config.width, *[config.width] * (config.depth - 1)]
        self.layers = nn.ModuleList(Linear(each, config.width, _GAIN) for each in inputs)
        self.register_buffer("mean", torch.zeros(config.width))
        """Style of the mean picture, to move styles towards (truncation); set after a training."""

    def forward(self, z: Tensor, attributes: Tensor) -> Tensor:
        """[n, latent] from N(0, 1), [n, attributes] of 0 and 1, all 0 for nothing stated -> [n, width]."""
        z = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        x = torch.cat((z, self.words(attributes)), dim=1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), _SLOPE)
        return x


class Synthesis(nn.Module):
    """Styles to pictures."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        inputs = [widths[0], *(each for pair in pairwise(widths) for each in pair)]
        outputs = [widths[0], *(each for each in widths[1:] for _ in range(2))]
        self.start = nn.Parameter(torch.randn(1, widths[0], START, START))
        self.layers = nn.ModuleList(
            Layer(config.width, *each) for each in zip(inputs, outputs, config.sides, strict=True)
        )
        self.paints = nn.ModuleList(Paint(config.width, each) for each in widths)

    def forward(self, w: Tensor, noise: Tensor) -> Tensor:
        """[n, layers, width] of styles, [n, places] from N(0, 1) or zeros -> [n, 3, size, size]."""
        noises = torch.split(noise, list(self.config.places), dim=1)
        x = self.layers[0](self.start, w[:, 0], noises[0])
        picture: Tensor = self.paints[0](x, w[:, 0])
        for level in range(1, len(self.paints)):
            first, second = 2 * level - 1, 2 * level
            x = self.layers[first](_double(x), w[:, first], noises[first])
            x = self.layers[second](x, w[:, second], noises[second])
            picture = _double(picture) + self.paints[level](x, w[:, second])
        return picture


class Layer(nn.Module):
    """A convolution by a style, noise, a bias, a leaky ReLU."""

    def __init__(self, width: int, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.style = Linear(width, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """[n, inputs, side, side], [n, width], [n, side * side] -> [n, outputs, side, side]."""
        style = self.style(w)
        y = modulated(x, self.weight, style)
        # A factor through the leaky ReLU is a factor of what goes in: one pass less over the activations.
        grain = (_GAIN * self.strength * noise).reshape(-1, 1, self.side, self.side).to(y.dtype)
        scale = (_GAIN * demodulation(self.weight, style)).to(y.dtype)[:, :, None, None]
        bias = (_GAIN * self.bias).to(y.dtype)[:, None, None]
        return functional.leaky_relu(torch.addcmul(grain, y, scale) + bias, _SLOPE)


class Paint(nn.Module):
    """What a resolution adds to the picture."""

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        self.style = Linear(width, inputs, start=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[n, inputs, side, side], [n, width] -> [n, 3, side, side] of float32."""
        style = self.style(w) / math.sqrt(x.shape[1])
        return modulated(x, self.weight, style).float() + self.bias[:, None, None]


def modulated(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """Convolve with the weights, their input channels scaled by each picture's ``style`` [n, inputs]."""
    scaled = x * style[:, :, None, None]
    return functional.conv2d(scaled, weight, padding=weight.shape[-1] // 2)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """[n, outputs]: what gives each picture's scaled weights a length of 1 for every output channel."""
    squares = weight.square().sum(dim=(2, 3))
    return torch.rsqrt(style.square() @ squares.T + 1e-8)


class Discriminator(nn.Module):
    """Says how real pictures look, and how well they show their attributes (Miyato and Koyama, 2018)."""

    spread: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = config.critic_widths[::-1]
        self.enter = Conv(3, widths[0], 1, _GAIN)
        self.blocks = nn.ModuleList(Block(*each) for each in pairwise(widths))
        self.last = Conv(widths[-1] + 1, widths[-1], 3, _GAIN)
        self.features = Linear(widths[-1] * START**2, config.features, _GAIN)
        self.direction = nn.Parameter(torch.randn(config.features))
        self.words = Linear(config.attributes, config.features, math.sqrt(config.attributes / _STATED))
        self.bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("spread", torch.zeros(()))
        """Mean of what ``_spread`` finds; stands for it when not training: a picture is scored by itself."""

    def forward(self, pictures: Tensor, attributes: Tensor) -> Tensor:
        """[n, 3, size, size] from -1 to 1, [n, attributes] -> logits [n], high for real."""
        x = functional.leaky_relu(self.enter(pictures), _SLOPE)
        for block in self.blocks:
            x = block(x)
        spread = self._spread(x).to(x.dtype)[:, None, None, None].expand(-1, 1, START, START)
        x = functional.leaky_relu(self.last(torch.cat((x, spread), dim=1)), _SLOPE)
        seen = functional.leaky_relu(self.features(x.flatten(1)), _SLOPE).float()
        asked = (self.direction + self.words(attributes).float()) / math.sqrt(seen.shape[1])
        logits: Tensor = (seen * asked).sum(dim=1) + self.bias
        return logits

    def _spread(self, x: Tensor) -> Tensor:
        """[n]: how much pictures of a group differ (minibatch standard deviation; Karras et al., 2018)."""
        if not self.training:
            return self.spread.expand(x.shape[0])
        group = math.gcd(len(x), _GROUP)
        grouped = x.float().reshape(group, -1, *x.shape[1:])
        spread = (grouped - grouped.mean(dim=0)).square().mean(dim=0)  # ``var`` is slow over the first axis
        found = (spread + 1e-8).sqrt().mean(dim=(1, 2, 3))
        with torch.no_grad():
            self.spread.lerp_(found.mean(), 0.01)
        each: Tensor = found.repeat(group)
        return each


class Block(nn.Module):
    """Two convolutions beside a straight way, to half as many pixels a side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Conv(inputs, inputs, 3, _GAIN)
        self.second = Conv(inputs, outputs, 3, 1.0)  # the sum of both ways is as large as either
        self.straight = Conv(inputs, outputs, 1, math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, side, side] -> [n, outputs, side / 2, side / 2]."""
        y = functional.avg_pool2d(functional.leaky_relu(self.first(x), _SLOPE), 2)
        straight: Tensor = self.straight(functional.avg_pool2d(x, 2))
        return straight + functional.leaky_relu(self.second(y), _SLOPE)


class Linear(nn.Module):
    """A linear layer at an equalised rate."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0, start: float = 0.0) -> None:
        """``start`` is what its bias begins as."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), start))
        self.scale = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs] -> [n, outputs]."""
        return functional.linear(x, self.weight * self.scale, self.bias)


class Conv(nn.Module):
    """A convolution at an equalised rate."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, side, side] -> [n, outputs, side, side]."""
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


def _double(x: Tensor) -> Tensor:
    """[n, channels, side, side] -> twice as many pixels a side."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
