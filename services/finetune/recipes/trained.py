"""What changes of a network, as checkpoints hold it, and the average of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from services.finetune.recipes.average import Average


class Trained:
    """The weights of a network that take gradients, by their names."""

    def __init__(self, network: nn.Module) -> None:
        self.weights: dict[str, nn.Parameter] = {
            name: each for name, each in network.named_parameters() if each.requires_grad
        }

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {name: each.detach() for name, each in self.weights.items()}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Any) -> None:
        """From a checkpoint."""
        for name, each in self.weights.items():
            each.copy_(state_dict[name])

    def average(self, decay: float) -> Average[nn.ParameterList]:
        """A running one, which begins here."""
        return Average(self.listed(), decay)

    def listed(self) -> nn.ParameterList:
        """All of them, for an average to follow."""
        return nn.ParameterList(self.weights.values())

    @contextlib.contextmanager
    def replaced(self, average: Average[nn.ParameterList] | None) -> Iterator[None]:
        """In this block the network has the average's weights, where there is one."""
        if average is None:
            yield
            return
        pairs = list(zip(self.weights.values(), average.model.parameters(), strict=True))
        held = [own.data for own, _ in pairs]
        try:
            for own, other in pairs:
                own.data = other.data
            yield
        finally:
            for (own, _), data in zip(pairs, held, strict=True):
                own.data = data
