"""What a step of recipe train_gan learns, and what is measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from services.finetune.recipes.average import Average
from services.finetune.recipes.device import Device
from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.augmentation import Augmentation
from services.finetune.recipes.gan.contest import Contest, Round
from services.finetune.recipes.gan.diversity import GLANCE, Diversity
from services.finetune.recipes.gan.options import Options
from services.finetune.recipes.gan.pitfalls.watch import Watch
from services.finetune.recipes.gan.sight import Figures, quantiles, variety
from services.finetune.recipes.peeps.attributed import Attributed
from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.vector import VOCABULARY
from services.finetune.recipes.resumable import Stateful
from services.gan.families.stylegan import Config, Discriminator, Generator

COLUMNS = 12
_BETAS = (0.0, 0.99)
_MAPPING_RATE = 0.1
"""Share of the rate that the mapping network learns at."""
_MEASURED = 2048
"""Styles that the mean style is taken of."""
_AT_ONCE = 256


class Training:
    """Two networks, the data that they learn from and the watch over them."""

    def __init__(self, data: Peeps, held_out: Peeps, work: Path, options: Options) -> None:
        """``work``: the folder of the events. Raises ValueError for options that cannot be."""
        if options.loss not in losses.LOSSES:
            raise ValueError(f"loss is {options.loss!r}, one of {', '.join(losses.LOSSES)} is needed")
        self._options = options
        self._device = Device(options.device, options.threads, options.precision)
        torch.backends.cudnn.benchmark = self._device.is_gpu  # every step has the same shapes
        torch.manual_seed(options.seed)
        sizes = Config.of(options.size, len(VOCABULARY), options.finest, options.most)
        self.config = replace(sizes, latent=options.latent, width=options.width, features=options.features)
        self._data = Attributed(data, self.config.size, self._device.torch)
        self._held_out = Attributed(held_out, self.config.size, self._device.torch)
        self.generator = self._device.place(Generator(self.config))
        self.discriminator = self._device.place(Discriminator(self.config))
        self.average = Average(self.generator, 0.5 ** (options.batch / options.half_life))
        self.augmentation = Augmentation(options.augment).to(self._device.torch)
        mapping, synthesis = self.generator.mapping.parameters(), self.generator.synthesis.parameters()
        makes = self._optimiser({"params": [*mapping], "share": _MAPPING_RATE}, {"params": [*synthesis]})
        judges = self._optimiser({"params": [*self.discriminator.parameters()]})
        networks: dict[str, Stateful] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
            "augmentation": self.augmentation,
            "makes": makes,
            "judges": judges,
        }
        self.watch = Watch(options.regime, options.manner, networks, work)
        self.parts: dict[str, Stateful] = {**networks, "watch": self.watch}
        self._figures = Figures()
        self._contest = Contest(
            self.discriminator, makes, judges, self.augmentation, self._device, options.r1_every, self._note
        )
        real, _ = self._held_out.of(torch.arange(len(self._held_out)))
        self._diversity = Diversity(real, options.clip, options.judge, self._device.torch)

    def learn(self, step: int, _: np.random.Generator) -> Tensor:
        """One step of the training, by torch's random numbers."""
        options = self._options
        slowed = min(1.0, (options.steps - step) / max(options.cooling * options.steps, 1.0))
        loss = self._contest.step(step, self.watch.regime, self._deal, slowed)
        self.average.follow(self.generator, step)
        self.watch.after(step + 1, self._glance)
        return loss

    def _deal(self) -> Round:
        """Real pictures, and as many made ones that are to show the same."""
        options = self._options
        real, stated = self._data.draw(options.batch)
        stated = self._data.forget(stated, options.untold, options.unconditional)
        styles = self._styles(stated)
        with self._device.products():
            made = self.generator.synthesis(styles, self._noise(options.batch))
        return Round(real, made, partial(self.discriminator, attributes=stated))

    def _styles(self, stated: Tensor) -> Tensor:
        """[n, layers, width] of random latent vectors, in float32; some rows change theirs at a layer."""
        config, n, device = self.config, len(stated), stated.device
        z = torch.randn(2 * n, config.latent, device=device)
        coarse, fine = self.generator.mapping(z, stated.repeat(2, 1)).chunk(2)
        layers = len(config.sides)
        is_fine = torch.arange(layers, device=device) >= torch.randint(1, layers, (n, 1), device=device)
        is_fine &= torch.rand(n, 1, device=device) < self._options.mixing
        return torch.where(is_fine[:, :, None], fine[:, None], coarse[:, None])

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, sum(self.config.places), device=self._device.torch)

    def _note(self, figures: Mapping[str, Tensor]) -> None:
        self._figures.note(figures)
        self.watch.note(figures)

    def _optimiser(self, *groups: dict[str, Any]) -> torch.optim.Adam:
        return torch.optim.Adam(groups, betas=_BETAS, fused=True)

    @torch.no_grad()
    def set_mean(self) -> None:
        """Note the mean style of the average generator, of training pictures' attributes."""
        average = self.average.model
        chance = torch.Generator().manual_seed(0)
        z = torch.randn(_MEASURED, self.config.latent, generator=chance).to(self._device.torch)
        _, stated = self._data.of(torch.arange(_MEASURED) % len(self._data))
        w = average.get_submodule("mapping")(z, stated)
        average.get_buffer("mapping.mean").copy_(w.mean(dim=0))

    @torch.no_grad()
    def made(self, stated: Tensor, seed: int, generator: nn.Module | None = None) -> Tensor:
        """Pictures of the average generator, or of another, the same for the same seed."""
        generator = generator or self.average.model
        chance = torch.Generator().manual_seed(seed)
        made = []
        for part in torch.split(stated, _AT_ONCE):
            z, noise = (
                torch.randn(len(part), width, generator=chance).to(part.device)
                for width in (self.config.latent, sum(self.config.places))
            )
            made.append(generator(z, part, noise))
        return torch.cat(made)

    def previews(self) -> Tensor:
        """Two rows of held-out avatars, each with two of their attributes below; then of any attributes."""
        rows = []
        for first in (0, COLUMNS):
            real, stated = self._held_out.of(torch.arange(first, first + COLUMNS) % len(self._held_out))
            rows += [real, self.made(stated, 1 + first), self.made(stated, 2 + first)]
        return torch.cat([*rows, self.made(self._nothing(2 * COLUMNS), 0)])

    def _nothing(self, count: int) -> Tensor:
        """[count, attributes]: nothing stated."""
        return torch.zeros(count, self.config.attributes, device=self._device.torch)

    def _glance(self) -> dict[str, float]:
        """For the detectors, of the generator as it is: the average of a failing one is a blur."""
        return self._diversity.glance(self.made(self._nothing(GLANCE), 0, self.generator))

    def measure(self) -> dict[str, float]:
        """What steps noted since the last time, and how the pictures are beside real ones."""
        real, _ = self._held_out.of(torch.arange(min(len(self._held_out), _AT_ONCE)))
        made = self.made(self._nothing(len(self._held_out)), 0)
        sure = {"chance": self.augmentation.chance.item(), "sign": self.augmentation.sign.item()}
        varied = {"variety": variety(made[: len(real)]) / variety(real)}
        glance = self._diversity.glance(made[:GLANCE])
        return {**self._figures.read(), **sure, **varied, **glance, **self._diversity.length(made)}

    @torch.no_grad()
    def scores(self) -> dict[str, list[float]]:
        """Percentiles of the discriminator's logits of held-out and of made pictures, no attribute stated."""
        self.discriminator.eval()
        real, stated = self._held_out.of(torch.arange(len(self._held_out)))
        nothing = torch.zeros_like(stated)
        said = {"real": self.discriminator(real, nothing)}
        said["made"] = self.discriminator(self.made(stated, 0), nothing)
        return {name: quantiles(logits) for name, logits in said.items()}
