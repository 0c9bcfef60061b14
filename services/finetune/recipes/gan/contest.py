"""One step of a GAN's training: the discriminator learns to tell, the generator to be taken for real.

It is the same for points of the plane and for pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.finetune.recipes.device import Device
from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.augmentation import Augmentation
from services.finetune.recipes.gan.losses import Judge
from services.finetune.recipes.gan.pitfalls.regime import Regime
from services.finetune.recipes.gan.sight import share

Note = Callable[[Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class Round:
    """N real examples and N made ones."""

    real: Tensor
    made: Tensor
    """Of the same shape; the generator learns through it."""
    judge: Judge
    """The discriminator, which knows what both were to show."""


class Contest:
    """Two networks and how they learn from each other."""

    def __init__(
        self,
        discriminator: nn.Module,
        makes: torch.optim.Optimizer,
        judges: torch.optim.Optimizer,
        augmentation: Augmentation,
        device: Device,
        r1_every: int,
        note: Note,
    ) -> None:
        """``makes`` and ``judges`` move the generator and the discriminator. ``note`` takes the figures.

        R1 counts at each ``r1_every``-th step, and so many times.
        """
        self._discriminator, self._augmentation = discriminator, augmentation
        self._makes, self._judges = makes, judges
        self._device, self._r1_every, self._note = device, r1_every, note

    def step(self, step: int, regime: Regime, deal: Callable[[], Round], slowed: float = 1.0) -> Tensor:
        """Steps of both networks, at a share ``slowed`` of their rates; returns the discriminator's loss."""
        self._augmentation.target = regime.augment
        self._discriminator.train(regime.compares)  # only then it compares the examples of a batch
        for _ in range(regime.critic_steps):
            dealt = deal()
            loss = self._judge(step, dealt, regime, regime.critic_rate * slowed)
        self._improve(dealt, regime, regime.rate * slowed)
        for _ in range(regime.generator_steps - 1):
            self._improve(deal(), regime, regime.rate * slowed)
        return loss

    def _judge(self, step: int, dealt: Round, regime: Regime, rate: float) -> Tensor:
        """The discriminator's step."""
        real, made = self._shown(dealt.real, regime), self._shown(dealt.made.detach(), regime)
        with self._device.products():
            said_real, said_made = dealt.judge(real), dealt.judge(made)
            penalty = self._penalty(step, dealt.judge, real, made, regime)
        loss = losses.critic_loss(regime.loss, said_real, said_made)
        length = descend(self._judges, rate, loss + penalty)
        self._augmentation.steer(said_real)
        self._note(
            {
                "real_right": share(said_real > 0),
                "made_right": share(said_made < 0),
                "critic_gradient": length,
                "apart": share(said_real > said_made),
                "accuracy": losses.accuracy(regime.loss, said_real, said_made),
                "saturated": losses.saturated(regime.loss, said_real, said_made),
            }
        )
        return loss.detach()

    def _penalty(self, step: int, judge: Judge, real: Tensor, made: Tensor, regime: Regime) -> Tensor:
        """What keeps the discriminator from being steep."""
        if regime.loss == losses.WGAN_GP:
            return losses.gradient_penalty(judge, real, made) * regime.gp
        if not regime.r1 or step % self._r1_every:
            return torch.zeros((), device=real.device)
        steep = losses.steepness(judge, real)
        self._note({"r1": steep})
        if regime.loss == losses.RELATIVISTIC:
            steep = steep + losses.steepness(judge, made)
        return steep * (regime.r1 / 2 * self._r1_every)

    def _improve(self, dealt: Round, regime: Regime, rate: float) -> None:
        """The generator's step."""
        self._discriminator.requires_grad_(False)
        with self._device.products():
            said_made = dealt.judge(self._shown(dealt.made, regime))
            is_relative = regime.loss == losses.RELATIVISTIC
            said_real = dealt.judge(self._shown(dealt.real, regime)) if is_relative else said_made
        loss = losses.generator_loss(regime.loss, said_real, said_made)
        length = descend(self._makes, rate, loss)
        self._discriminator.requires_grad_(True)
        self._note({"generator_loss": loss, "generator_gradient": length})

    def _shown(self, examples: Tensor, regime: Regime) -> Tensor:
        """What the discriminator gets to see of them."""
        seen: Tensor = self._augmentation(examples)
        return seen + torch.randn_like(seen) * regime.noise if regime.noise else seen


def descend(optimiser: torch.optim.Optimizer, rate: float, loss: Tensor) -> Tensor:
    """Step against the gradient of ``loss``; returns its length. A group's ``share`` is of the rate."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    every = [each.grad for group in optimiser.param_groups for each in group["params"]]
    optimiser.step()
    return torch.nn.utils.get_total_norm(every)
