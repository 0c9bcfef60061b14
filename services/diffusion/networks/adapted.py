"""Low-rank additions to a network's layers, each row's own (Hu et al., "LoRA", 2021).

All adapters that are in memory lie beside each other: a layer has one ``down`` [ranks, inputs] and one ``up``
[outputs, ranks], of which each adapter has some ranks. A row takes part in those that its ``selection``
[ranks] is not 0 at, so rows with different adapters share a call, and a row without any gets exactly what
the network alone says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Lent(nn.Module):
    """A layer that is lent factors for the time of one call."""

    def __init__(self, sizes: tuple[int, int]) -> None:
        """``sizes``: (inputs, outputs), of factors ``down`` [ranks, inputs] and ``up`` [outputs, ranks]."""
        super().__init__()
        self.sizes = sizes
        self._lent: tuple[Tensor, Tensor, Tensor] | None = None

    def lend(self, down: Tensor, up: Tensor, selection: Tensor) -> None:
        """Factors for the next call, and which row takes part in which ranks."""
        self._lent = (down, up, selection)

    def take_back(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """What is lent now; also after a call that did not come to this layer."""
        lent, self._lent = self._lent, None
        return lent


class LentLinear(Lent):
    """A linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__((linear.in_features, linear.out_features))
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """[n, ..., inputs] -> [n, ..., outputs]."""
        result: Tensor = self.linear(x)
        if (lent := self.take_back()) is None:
            return result
        down, up, selection = lent
        for _ in range(x.ndim - 2):
            selection = selection.unsqueeze(1)
        return result + _product(_product(x, down) * selection, up)


class LentConvolution(Lent):
    """A convolution. ``down`` has its kernel, laid out flat; ``up`` is one of 1 x 1."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        inner = (convolution.in_channels, *convolution.kernel_size)
        super().__init__((math.prod(inner), convolution.out_channels))
        self.convolution = convolution
        self._inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, height, width] -> the same axes."""
        result: Tensor = self.convolution(x)
        if (lent := self.take_back()) is None:
            return result
        down, up, selection = lent
        where: Any = {"stride": self.convolution.stride, "padding": self.convolution.padding}
        narrow = nn.functional.conv2d(x, down.reshape(-1, *self._inner), **where)
        return result + nn.functional.conv2d(narrow * selection[:, :, None, None], up[:, :, None, None])


class Adapted(nn.Module):
    """A network whose layers take factors as inputs."""

    def __init__(self, network: nn.Module, names: Sequence[str] | None = None) -> None:
        """Changes ``network``: its linear layers, or the layers of ``names``, are replaced."""
        super().__init__()
        self.names = linear_names(network) if names is None else list(names)
        self.layers = [_lend(network, name) for name in self.names]
        self.network = network

    def forward(
        self, inputs: Sequence[Tensor], selection: Tensor, downs: Sequence[Tensor], ups: Sequence[Tensor]
    ) -> Tensor:
        """What the network says of ``inputs`` with the factors of ``names``, in their order."""
        for layer, down, up in zip(self.layers, downs, ups, strict=True):
            layer.lend(down, up, selection)
        said: Tensor = self.network(*inputs)
        return said


class Factors(nn.Module):
    """Factors in training: they change nothing at first."""

    def __init__(self, adapted: Adapted, rank: int) -> None:
        super().__init__()
        sizes = [each.sizes for each in adapted.layers]
        self.downs = nn.ParameterList(torch.randn(rank, inputs) / inputs**0.5 for inputs, _ in sizes)
        self.ups = nn.ParameterList(torch.zeros(outputs, rank) for _, outputs in sizes)
        self.rank = rank

    def said(self, adapted: Adapted, inputs: Sequence[Tensor]) -> Tensor:
        """What the network says of ``inputs`` with these factors in every row."""
        selection = torch.ones(len(inputs[0]), self.rank, device=inputs[0].device)
        answer: Tensor = adapted(inputs, selection, list(self.downs), list(self.ups))
        return answer


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` times ``weight``. ONNX Runtime has other kernels, which round otherwise, for a single row."""
    if x.ndim > 2:
        return nn.functional.linear(x, weight)
    return nn.functional.linear(torch.cat((x, x[:1])), weight)[:-1]


def linear_names(network: nn.Module) -> list[str]:
    """The network's linear layers, in its order."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def convolution_names(network: nn.Module) -> list[str]:
    """The convolutions that can be lent factors, in the network's order: plain ones."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
    ]


def _lend(network: nn.Module, name: str) -> Lent:
    parent, _, last = name.rpartition(".")
    owner = network.get_submodule(parent)
    layer = getattr(owner, last)
    lent = LentConvolution(layer) if isinstance(layer, nn.Conv2d) else LentLinear(layer)
    setattr(owner, last, lent)
    return lent
