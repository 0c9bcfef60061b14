"""What the two networks of a GAN want, from the logits of real and of made pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

NON_SATURATING, RELATIVISTIC = "non_saturating", "relativistic"
LOSSES = (NON_SATURATING, RELATIVISTIC)
"""Of Goodfellow et al., 2014, and of Jolicoeur-Martineau, 2018: each real picture against a made one."""


def critic_loss(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Of the discriminator; logits [n] and [n]."""
    if loss == RELATIVISTIC:
        return softplus(made - real).mean()
    return softplus(-real).mean() + softplus(made).mean()


def generator_loss(loss: str, real: Tensor, made: Tensor) -> Tensor:
    """Of the generator; only a relativistic one looks at ``real``."""
    return softplus(real - made).mean() if loss == RELATIVISTIC else softplus(-made).mean()


def steepness(discriminator: nn.Module, pictures: Tensor, attributes: Tensor) -> Tensor:
    """Mean squared length of the gradients of logits by pictures (Mescheder et al., 2018).

    R1 of real pictures, R2 of made ones. In float32: 16 bits are too few for gradients of gradients.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        seen = pictures.detach().float().requires_grad_()
        logits = discriminator(seen, attributes)
        (gradients,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
    return gradients.square().sum(dim=(1, 2, 3)).mean()
