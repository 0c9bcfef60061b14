"""One step of an optimiser, the same in every recipe of images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_CLIP = 1.0
"""The longest gradient; a longer one is cut to it."""


def descend(optimiser: torch.optim.Optimizer, rate: float, loss: Tensor) -> Tensor:
    """Step against the gradient of ``loss`` at ``rate``; returns the loss, without gradients."""
    return descend_by(optimiser, rate, [loss])


def descend_by(optimiser: torch.optim.Optimizer, rate: float, parts: Iterable[Tensor]) -> Tensor:
    """The same of a loss that is a sum, whose parts need not be in memory together."""
    optimiser.zero_grad(set_to_none=True)
    loss = None
    for part in parts:
        part.backward()  # type: ignore[no-untyped-call]
        loss = part.detach() if loss is None else loss + part.detach()
    assert loss is not None
    for group in optimiser.param_groups:
        group["lr"] = rate
    every = [weight for group in optimiser.param_groups for weight in group["params"]]
    torch.nn.utils.clip_grad_norm_(every, _CLIP)
    optimiser.step()
    return loss
