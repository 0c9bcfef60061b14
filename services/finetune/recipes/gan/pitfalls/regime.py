"""What of a training may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Regime:
    """How the two networks are trained at the moment."""

    loss: str
    r1: float
    """Weight of R1, and of R2 where the loss is relativistic."""
    rate: float
    critic_rate: float
    """Learning rates of the generator and of the discriminator."""
    gp: float = 10.0
    """Weight of the gradient penalty of WGAN-GP."""
    critic_steps: int = 1
    generator_steps: int = 1
    """Steps of each network in one step of the training."""
    noise: float = 0.0
    """Standard deviation of noise on all that the discriminator sees (Arjovsky and Bottou, 2017)."""
    augment: float = 0.0
    """Mean sign of the logits of real examples that augmentations hold; 0 for none."""
    compares: bool = True
    """Whether the discriminator sees how much a batch varies (minibatch standard deviation)."""
