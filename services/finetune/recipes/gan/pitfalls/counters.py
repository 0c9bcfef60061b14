"""What is done about a pitfall: a ladder for each, climbed one rung at a time while its alarm rings.

A rung changes the regime, or takes the networks back to when all was well, or both. What a rung changed stays
when the alarm ends: it was needed. A rung that would change nothing is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING
from services.finetune.recipes.gan.pitfalls.regime import Regime

_STRONGER, _LEAST_R1 = 4.0, 1.0
_SLOWER = 0.5
_NOISE = 0.1
"""Of examples that reach from -1 to 1."""
_AUGMENT = 0.6
"""Mean sign of the logits of real examples, as in the paper of ADA (Karras et al., 2020)."""


@dataclass(frozen=True)
class Counter:
    """A rung."""

    name: str
    change: Callable[[Regime], Regime]
    rolls_back: bool = False
    """Whether the networks go back to the last healthy checkpoint first."""


def _non_saturating(regime: Regime) -> Regime:
    """A loss that is steep where the discriminator wins."""
    is_flat = regime.loss == losses.SATURATING
    return replace(regime, loss=losses.NON_SATURATING) if is_flat else regime


def _stronger_penalty(regime: Regime) -> Regime:
    """A discriminator that cannot be steep has slopes everywhere to learn from (Mescheder et al., 2018)."""
    r1 = max(regime.r1 * _STRONGER, _LEAST_R1)
    return replace(regime, r1=r1, gp=regime.gp * _STRONGER)


def _slower_critic(regime: Regime) -> Regime:
    """One step at a time, at half its rate or where both rates meet: it cannot run away."""
    middle = math.sqrt(regime.rate * regime.critic_rate)
    slower = min(middle, regime.critic_rate * _SLOWER)
    return replace(regime, rate=max(middle, regime.rate), critic_rate=slower, critic_steps=1)


def _extra_generator_step(regime: Regime) -> Regime:
    return replace(regime, generator_steps=regime.generator_steps + 1)


def _instance_noise(regime: Regime) -> Regime:
    """Real and made overlap, so that there is a slope between them (Arjovsky and Bottou, 2017)."""
    return replace(regime, noise=max(regime.noise, _NOISE))


def _augmentation(regime: Regime) -> Regime:
    return replace(regime, augment=regime.augment or _AUGMENT)


def _comparison(regime: Regime) -> Regime:
    """A discriminator that sees a whole batch sees that it is all alike (Salimans et al., 2016)."""
    return replace(regime, compares=True)


def _pairing(regime: Regime) -> Regime:
    """Every real example pulls on a made one: none can be left out (Sun et al., 2020; Huang et al., 2024)."""
    return replace(regime, loss=losses.RELATIVISTIC, r1=max(regime.r1, _LEAST_R1))


def _slower(regime: Regime) -> Regime:
    """A generator that cannot run away from the discriminator: two time scales (Heusel et al., 2017)."""
    return replace(regime, rate=min(regime.rate * _SLOWER, regime.critic_rate), generator_steps=1)


LADDERS: Mapping[str, Sequence[Counter]] = {
    VANISHING: (
        Counter("non_saturating_loss", _non_saturating),
        Counter("stronger_penalty", _stronger_penalty),
        Counter("slower_discriminator", _slower_critic),
        Counter("extra_generator_step", _extra_generator_step),
        Counter("instance_noise", _instance_noise),
        Counter("augmentation", _augmentation),
    ),
    COLLAPSE: (
        Counter("minibatch_deviation", _comparison),
        Counter("relativistic_pairing", _pairing),
        Counter("roll_back", _slower, rolls_back=True),
    ),
}


def climb(ladder: Sequence[Counter], rung: int, regime: Regime) -> int:
    """The next rung from ``rung`` on that does something; the ladder's length where there is none."""
    while rung < len(ladder) and not (ladder[rung].rolls_back or ladder[rung].change(regime) != regime):
        rung += 1
    return rung
