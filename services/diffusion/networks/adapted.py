"""Low-rank additions to a network's linear layers, each row's own (Hu et al., "LoRA", 2021).

All adapters that are in memory lie beside each other: a layer has one ``down`` [ranks, inputs] and one ``up``
[outputs, ranks], of which each adapter has some ranks. A row takes part in those that its ``selection``
[ranks] is not 0 at, so rows with different adapters share a call, and a row without any gets exactly what
the network alone says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LentLinear(nn.Module):
    """A linear layer that is lent factors for the time of one call."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self._lent: tuple[Tensor, Tensor, Tensor] | None = None

    def lend(self, down: Tensor, up: Tensor, selection: Tensor) -> None:
        """Factors for the next call, and which row takes part in which ranks."""
        self._lent = (down, up, selection)

    def take_back(self) -> None:
        """After a call that did not come to this layer."""
        self._lent = None

    def forward(self, x: Tensor) -> Tensor:
        """[n, ..., inputs] -> [n, ..., outputs]."""
        result: Tensor = self.linear(x)
        if self._lent is None:
            return result
        down, up, selection = self._lent
        self._lent = None
        for _ in range(x.ndim - 2):
            selection = selection.unsqueeze(1)
        return result + _product(_product(x, down) * selection, up)


class Adapted(nn.Module):
    """A network whose linear layers take factors as inputs."""

    def __init__(self, network: nn.Module, names: Sequence[str] | None = None) -> None:
        """Changes ``network``: its linear layers, or those of ``names``, are replaced."""
        super().__init__()
        self.names = linear_names(network) if names is None else list(names)
        self.linears = [_lend(network, name) for name in self.names]
        self.network = network

    def forward(
        self, inputs: Sequence[Tensor], selection: Tensor, downs: Sequence[Tensor], ups: Sequence[Tensor]
    ) -> Tensor:
        """What the network says of ``inputs`` with the factors of ``names``, in their order."""
        for linear, down, up in zip(self.linears, downs, ups, strict=True):
            linear.lend(down, up, selection)
        said: Tensor = self.network(*inputs)
        return said


class Factors(nn.Module):
    """Factors in training: they change nothing at first."""

    def __init__(self, adapted: Adapted, rank: int) -> None:
        super().__init__()
        sizes = [(each.linear.in_features, each.linear.out_features) for each in adapted.linears]
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
    """The layers that adapters can change, in the network's order."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def _lend(network: nn.Module, name: str) -> LentLinear:
    parent, _, last = name.rpartition(".")
    owner = network.get_submodule(parent)
    linear = getattr(owner, last)
    lent = LentLinear(linear)
    setattr(owner, last, lent)
    return lent
