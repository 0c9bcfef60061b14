"""What the two networks of a GAN want, from the logits of real and of made examples.

``Judge`` is a discriminator that was told all but the examples themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from services.finetune.recipes.gan.names import (
    LOSSES,
    NON_SATURATING,
    RELATIVISTIC,
    SATURATING,
    WGAN_GP,
)

__all__ = [
    "LOSSES",
    "NON_SATURATING",
    "RELATIVISTIC",
    "SATURATING",
    "WGAN_GP",
    "accuracy",
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "saturated",
    "steepness",
]

Judge = Callable[[Tensor], Tensor]
"""Examples [n, ...] -> logits [n], high for real."""

_PAIRED = (RELATIVISTIC, WGAN_GP)
"""Losses that only differences of logits count in: a logit's own sign says nothing."""
_FLAT = 0.01
"""A generator's loss whose slope is less teaches it nothing."""


def critic_loss(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Of the discriminator; logits [n] and [n]."""
    if loss == RELATIVISTIC:
        return softplus(made - real).mean()
    if loss == WGAN_GP:
        return (made - real).mean()
    return softplus(-real).mean() + softplus(made).mean()


def generator_loss(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Of the generator; only a relativistic one looks at ``real``."""
    if loss == RELATIVISTIC:
        return softplus(real - made).mean()
    if loss == WGAN_GP:
        return -made.mean()
    if loss == SATURATING:
        return -softplus(made).mean()  # log(1 - D(made)), to be made small
    return softplus(-made).mean()


def accuracy(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Share of the judgements that are right: of pairs where the loss compares pairs, else of examples."""
    if loss in _PAIRED:
        return (real > made).float().mean()
    return ((real > 0).float().mean() + (made < 0).float().mean()) / 2


def saturated(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Share of the made examples at whose logits the generator's loss is flat."""
    if loss == WGAN_GP:
        return torch.zeros((), device=made.device)
    against = {RELATIVISTIC: real - made, SATURATING: made}
    slope = torch.sigmoid(against.get(loss, -made))
    return (slope < _FLAT).float().mean()


def steepness(judge: Judge, examples: Tensor) -> Tensor:
    """Mean squared length of the gradients of logits by examples (Mescheder et al., 2018).

    R1 of real ones, R2 of made ones. Bfloat16 does for the products: what is summed is float32, and the
    penalty's own gradient keeps its direction (a cosine above 0.999).
    """
    return _gradients(judge, examples).square().sum(dim=1).mean()


def gradient_penalty(judge: Judge, real: Tensor, made: Tensor) -> Tensor:
    """How far slopes are from 1, squared, at random points between pairs (Gulrajani et al., 2017)."""
    shares = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    between = torch.lerp(real.detach().float(), made.detach().float(), shares)
    lengths = (_gradients(judge, between).square().sum(dim=1) + 1e-12).sqrt()
    return (lengths - 1).square().mean()


def _gradients(judge: Judge, examples: Tensor) -> Tensor:
    """[n, values] of logits by examples, to be differentiated again."""
    seen = examples.detach().float().requires_grad_()
    (gradients,) = torch.autograd.grad(judge(seen).sum(), seen, create_graph=True)
    return gradients.flatten(1)
