"""One step of an optimiser, the same in every recipe of images."""

from __future__ import annotations

import torch
from torch import Tensor

_CLIP = 1.0
"""The longest gradient; a longer one is cut to it."""


def descend(optimiser: torch.optim.Optimizer, rate: float, loss: Tensor) -> Tensor:
    """Step against the gradient of ``loss`` at ``rate``; returns the loss, without gradients."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        group["lr"] = rate
    every = [weight for group in optimiser.param_groups for weight in group["params"]]
    torch.nn.utils.clip_grad_norm_(every, _CLIP)
    optimiser.step()
    return loss.detach()
