"""The running average of a model's weights, which is what is kept of a diffusion model or a GAN."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """Exponential moving average; in the first steps a shorter one, so that the random start is forgotten."""

    def __init__(self, model: N, decay: float) -> None:
        self.model: N = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def follow(self, model: N, step: int) -> None:
        """Move towards the model's weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)

    def halves(self) -> dict[str, Tensor]:
        """The weights in 16 bits, as versions hold them."""
        return halves(self.model)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return self.model.state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        """From a checkpoint."""
        self.model.load_state_dict(state_dict)


def halves(model: nn.Module) -> dict[str, Tensor]:
    """Weights in 16 bits, as versions hold them."""
    return {name: value.half().contiguous().cpu() for name, value in model.state_dict().items()}
