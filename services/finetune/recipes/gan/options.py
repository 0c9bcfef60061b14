"""Options of recipe train_gan, and presets: a small healthy training, and one that causes each pitfall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.finetune.recipes.gan import names
from services.finetune.recipes.gan.names import OFF, ON
from services.finetune.recipes.gan.pitfalls.manner import Manner
from services.finetune.recipes.gan.pitfalls.regime import Regime
from services.finetune.recipes.options import among, within

PASSING = frozenset({"threads", "device", "clip", "judge", "counters"})
"""Options that a checkpoint may go on without."""


@dataclass(frozen=True)
class Options:
    """Training; the defaults are those of the shipped ``peeps-gan``."""

    size: int = within(32, 8, 128)
    """Pixels of a side."""
    finest: int = within(32, 4, 512)
    """Channels at that size."""
    most: int = within(128, 4, 1024)
    """Channels at the most, where there are fewer pixels."""
    latent: int = within(128, 4, 1024)
    width: int = within(128, 4, 1024)
    """Widths of a latent vector and of a style."""
    features: int = within(192, 4, 1024)
    """Width of what the discriminator decides by."""
    steps: int = 20_000
    batch: int = within(32, 2, 4096)
    rate: float = within(2.5e-3, 1e-7, 1.0)
    critic_rate: float = within(2.5e-3, 1e-7, 1.0)
    cooling: float = within(0.3, 0.0, 1.0)
    """Last share of the steps, over which the rates go to 0."""
    loss: str = among(names.RELATIVISTIC, *names.LOSSES)
    r1: float = within(0.5, 0.0, 1000.0)
    """Weight of R1, and of R2 where the loss is relativistic."""
    r1_every: int = within(4, 1, 1000)
    """Steps from one to the next, which counts so many times."""
    gp: float = within(10.0, 0.0, 1000.0)
    """Weight of the gradient penalty where the loss is wgan_gp."""
    critic_steps: int = within(1, 1, 100)
    generator_steps: int = within(1, 1, 100)
    """Steps of each network in one step of the training."""
    stddev: str = among(ON, ON, OFF)
    """``off``: the discriminator does not see how much a batch varies."""
    noise: float = within(0.0, 0.0, 10.0)
    """Standard deviation of noise on all that the discriminator sees."""
    augment: float = within(0.0, 0.0, 1.0)
    """Mean sign of the logits of real pictures that augmentations hold; 0 for none."""
    mixing: float = within(0.5, 0.0, 1.0)
    """Share of the pictures made of two styles, one for the coarse layers and one for the fine."""
    untold: float = within(0.2, 0.0, 1.0)
    """Chance of an attribute to be left out."""
    unconditional: float = within(0.2, 0.0, 1.0)
    """Chance of all of them to be left out."""
    half_life: int = within(40_000, 1, 1_000_000_000)
    """Pictures after which a weight counts half in the average."""
    look_every: int = within(500, 1, 1_000_000)
    watch_every: int = within(50, 1, 1_000_000)
    """Steps from one look of the detectors to the next."""
    grace: int = within(2000, 0, 100_000_000)
    """Steps at the beginning in which little variety is no alarm, unless there was more before."""
    counters: str = among(ON, ON, OFF)
    """``off``: alarms are noted, nothing is done about them."""
    clip: str = ""
    """Version of pretrain_clip: features for KID, precision, recall and the detector of collapses, and to
    find training images by once it is served."""
    judge: str = ""
    """Version of train_judge: says how many of the attributes' words are made at all."""
    seed: int = 1
    threads: int = 1
    device: str = "auto"
    precision: str = "auto"
    """Of products: ``bfloat16`` is twice as quick on CPUs that have units for it."""

    @property
    def regime(self) -> Regime:
        """How the training begins."""
        return Regime(
            loss=self.loss,
            r1=self.r1,
            rate=self.rate,
            critic_rate=self.critic_rate,
            gp=self.gp,
            critic_steps=self.critic_steps,
            generator_steps=self.generator_steps,
            noise=self.noise,
            augment=self.augment,
            compares=self.stddev == ON,
        )

    @property
    def manner(self) -> Manner:
        """How it is watched. Raises ValueError for what cannot be."""
        return Manner(self.watch_every, self.grace // max(self.watch_every, 1), self.counters)


_TOY = Options(
    size=16,
    finest=8,
    most=16,
    latent=24,
    width=24,
    features=24,
    steps=400,
    cooling=0.0,
    batch=16,
    mixing=0.0,
    unconditional=1.0,  # the detectors look at pictures of which nothing is stated
    half_life=500,
    look_every=100,
    watch_every=10,
    grace=100,
    device="cpu",
)
"""Avatars of 16 pixels by networks of some 40 000 parameters: a minute on a core."""

PRESETS: Mapping[str, Options] = {
    "healthy": _TOY,
    # The loss is flat where the discriminator is sure, and it is sure within some forty steps: it learns
    # thrice for each of the generator's steps, at a hundred times the rate, with no penalty on being steep.
    "vanishing": replace(_TOY, loss=names.SATURATING, r1=0.0, rate=1e-4, critic_rate=1e-2, critic_steps=3),
    # Three steps, twice as long ones, against a discriminator that stands still end at the picture that it
    # likes best, whatever the latent vector (Metz et al., 2017). It sees each picture alone, so that nothing
    # tells it that they are all alike, and no penalty keeps it from liking one picture far above the rest.
    "collapse": replace(_TOY, loss=names.NON_SATURATING, r1=0.0, rate=5e-3, generator_steps=3, stddev=OFF),
}
