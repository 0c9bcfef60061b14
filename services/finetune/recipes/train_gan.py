"""Recipe train_gan: avatars from a latent vector and attributes, in one pass.

python -m services.finetune.recipes.train_gan --data var/peeps --work DIR --out STORE/NAME/VERSION

A StyleGAN2-like pair of networks with R1 at times (Karras et al., 2020; Mescheder et al., 2018), attributes
that are left out at random, so that any of them or none can be asked for, augmentations as often as needed
(Karras et al., "ADA", 2020) and the average of the generator's weights. The folders come from recipe
draw_peeps. The same command goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from services.common.store import Kind, Manifest
from services.finetune.recipes.average import Average, halves
from services.finetune.recipes.device import Device
from services.finetune.recipes.gan import companions, losses
from services.finetune.recipes.gan.augmentation import Augmentation
from services.finetune.recipes.gan.sight import Figures, quantiles, share, variety
from services.finetune.recipes.options import lasting, read_flags
from services.finetune.recipes.peeps.attributed import Attributed
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import save_sheet
from services.finetune.recipes.peeps.vector import VOCABULARY
from services.finetune.recipes.resumable import Pace, Resumable, Stateful
from services.finetune.recipes.version import Corpus, begin, finish, publish
from services.gan.families.stylegan import Config, Discriminator, Generator

_COLUMNS = 12
_BETAS = (0.0, 0.99)
_MAPPING_RATE = 0.1
"""Share of the rate that the mapping network learns at."""
_MEASURED = 2048
"""Styles that the mean style is taken of."""
_AT_ONCE = 256


@dataclass(frozen=True)
class Options:
    """Training; the defaults are those of the shipped ``peeps-gan``."""

    size: int = 32
    """Pixels of a side."""
    finest: int = 32
    """Channels at that size."""
    most: int = 128
    """Channels at the most, where there are fewer pixels."""
    steps: int = 20_000
    batch: int = 32
    rate: float = 2.5e-3
    critic_rate: float = 2.5e-3
    cooling: float = 0.3
    """Last share of the steps, over which the rates go to 0."""
    loss: str = losses.RELATIVISTIC
    r1: float = 0.5
    """Weight of R1, and of R2 where the loss is relativistic."""
    r1_every: int = 4
    """Steps from one to the next, which counts so many times."""
    augment: float = 0.0
    """Mean sign of the logits of real pictures that augmentations hold; 0 for none."""
    mixing: float = 0.5
    """Share of the pictures made of two styles, one for the coarse layers and one for the fine."""
    untold: float = 0.2
    """Chance of an attribute to be left out."""
    unconditional: float = 0.2
    """Chance of all of them to be left out."""
    half_life: int = 40_000
    """Pictures after which a weight counts half in the average."""
    look_every: int = 500
    seed: int = 1
    threads: int = 1
    device: str = "auto"


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, options: Options) -> None:
        if options.loss not in losses.LOSSES:
            raise ValueError(f"loss is {options.loss!r}, one of {', '.join(losses.LOSSES)} is needed")
        self._device = Device(options.device, options.threads)
        torch.backends.cudnn.benchmark = self._device.is_gpu  # every step has the same shapes
        torch.manual_seed(options.seed)
        self.config = Config.of(options.size, len(VOCABULARY), options.finest, options.most)
        self._data = Attributed(data, self.config.size, self._device.torch)
        self._held_out = Attributed(held_out, self.config.size, self._device.torch)
        self.generator = self._device.place(Generator(self.config))
        self.discriminator = self._device.place(Discriminator(self.config))
        self.average = Average(self.generator, 0.5 ** (options.batch / options.half_life))
        self.augmentation = Augmentation(options.augment).to(self._device.torch)
        mapping, synthesis = self.generator.mapping.parameters(), self.generator.synthesis.parameters()
        self.makes = self._optimiser({"params": [*mapping], "share": _MAPPING_RATE}, {"params": [*synthesis]})
        self.judges = self._optimiser({"params": [*self.discriminator.parameters()]})
        self.figures = Figures()
        self._options = options

    def learn(self, step: int, _: np.random.Generator) -> Tensor:
        """One step of each network, by torch's random numbers."""
        options = self._options
        real, stated = self._data.draw(options.batch)
        stated = self._data.forget(stated, options.untold, options.unconditional)
        styles = self._styles(stated)
        with self._device.products():
            made = self.generator.synthesis(styles, self._noise(options.batch))
        slowed = min(1.0, (options.steps - step) / max(options.cooling * options.steps, 1.0))
        loss = self._judge(step, real, made.detach(), stated, options.critic_rate * slowed)
        self._improve(real, made, stated, options.rate * slowed)
        self.average.follow(self.generator, step)
        return loss

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

    def _judge(self, step: int, real: Tensor, made: Tensor, stated: Tensor, rate: float) -> Tensor:
        """The discriminator's step."""
        options = self._options
        real, made = self.augmentation(real), self.augmentation(made)
        with self._device.products():
            said_real, said_made = self.discriminator(real, stated), self.discriminator(made, stated)
        loss = losses.critic_loss(options.loss, said_real, said_made)
        whole = loss
        if step % options.r1_every == 0:
            steep = losses.steepness(self.discriminator, real, stated)
            self.figures.note({"r1": steep})
            if options.loss == losses.RELATIVISTIC:
                steep = steep + losses.steepness(self.discriminator, made, stated)
            whole = loss + steep * (options.r1 / 2 * options.r1_every)
        length = _step(self.judges, rate, whole)
        self.augmentation.steer(said_real)
        right = {"real_right": share(said_real > 0), "made_right": share(said_made < 0)}
        self.figures.note({**right, "critic_gradient": length, "apart": share(said_real > said_made)})
        return loss.detach()

    def _improve(self, real: Tensor, made: Tensor, stated: Tensor, rate: float) -> None:
        """The generator's step."""
        self.discriminator.requires_grad_(False)
        with self._device.products():
            said_made = self.discriminator(self.augmentation(made), stated)
            is_relative = self._options.loss == losses.RELATIVISTIC
            said_real = self.discriminator(self.augmentation(real), stated) if is_relative else said_made
        loss = losses.generator_loss(self._options.loss, said_real, said_made)
        length = _step(self.makes, rate, loss)
        self.discriminator.requires_grad_(True)
        self.figures.note({"generator_loss": loss, "generator_gradient": length})

    def _optimiser(self, *groups: dict[str, Any]) -> torch.optim.Adam:
        return torch.optim.Adam(groups, betas=_BETAS, fused=self._device.is_gpu)

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
    def made(self, stated: Tensor, seed: int) -> Tensor:
        """Pictures of the average generator, the same for the same seed."""
        chance = torch.Generator().manual_seed(seed)
        made = []
        for part in torch.split(stated, _AT_ONCE):
            z, noise = (
                torch.randn(len(part), width, generator=chance).to(part.device)
                for width in (self.config.latent, sum(self.config.places))
            )
            made.append(self.average.model(z, part, noise))
        return torch.cat(made)

    def previews(self) -> Tensor:
        """Two rows of held-out avatars, each with two of their attributes below; then of any attributes."""
        rows = []
        for first in (0, _COLUMNS):
            real, stated = self._held_out.of(torch.arange(first, first + _COLUMNS) % len(self._held_out))
            rows += [real, self.made(stated, 1 + first), self.made(stated, 2 + first)]
        open_ = torch.zeros(2 * _COLUMNS, self.config.attributes, device=self._device.torch)
        return torch.cat([*rows, self.made(open_, 0)])

    def measure(self) -> dict[str, float]:
        """What steps noted since the last time, and how varied the pictures are beside real ones."""
        real, stated = self._held_out.of(torch.arange(min(len(self._held_out), _AT_ONCE)))
        varied = variety(self.made(torch.zeros_like(stated), 0)) / variety(real)
        sure = {"chance": self.augmentation.chance.item(), "sign": self.augmentation.sign.item()}
        return {**self.figures.read(), **sure, "variety": varied}

    @torch.no_grad()
    def scores(self) -> dict[str, list[float]]:
        """Percentiles of the discriminator's logits of held-out and of made pictures, no attribute stated."""
        self.discriminator.eval()
        real, stated = self._held_out.of(torch.arange(len(self._held_out)))
        nothing = torch.zeros_like(stated)
        said = {"real": self.discriminator(real, nothing)}
        said["made"] = self.discriminator(self.made(stated, 0), nothing)
        return {name: quantiles(logits) for name, logits in said.items()}


def _step(optimiser: torch.optim.Optimizer, rate: float, loss: Tensor) -> Tensor:
    """Step against the gradient of ``loss``; returns its length."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    every = [each.grad for group in optimiser.param_groups for each in group["params"]]
    optimiser.step()
    return torch.nn.utils.get_total_norm(every)


def train(
    data: Peeps, held_out: Peeps, work: Path, out: Path, options: Options, features: Path | None = None
) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options.

    ``features``: an embedder's version, to find training images in the space of; None: they are not found.
    """
    begin(out)
    training = Training(data, held_out, options)
    parts: dict[str, Stateful] = {
        "generator": training.generator,
        "discriminator": training.discriminator,
        "average": training.average,
        "augmentation": training.augmentation,
        "makes": training.makes,
        "judges": training.judges,
    }
    course = Resumable(work, parts, lasting(options), options.seed)
    course.resume()

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", _COLUMNS, enlarge=2)
        return {"pictures_seen": float(step * options.batch), **training.measure()}

    course.run(Pace(options.steps, options.look_every), training.learn, look)
    return _publish(training, out, options, course, companions.Sources(data, held_out, features))


def _publish(
    training: Training, out: Path, options: Options, course: Resumable, sources: companions.Sources
) -> Manifest:
    training.set_mean()
    save_file(training.average.halves(), out / "generator.safetensors")
    save_file(halves(training.discriminator), out / "discriminator.safetensors")
    known, measured = companions.write(out, training.average.model, sources)
    curve = course.curve()
    metrics = {
        "pictures_seen": curve[-1]["pictures_seen"],
        "variety": curve[-1]["variety"],
        "generator_parameters": _parameters(training.generator),
        "discriminator_parameters": _parameters(training.discriminator),
        "training_seconds": round(course.seconds, 1),
        **measured,
    }
    config = {
        **known,
        "stylegan": json.loads(json.dumps(asdict(training.config))),
        "attributes": [list(each) for each in VOCABULARY],
        "scores": training.scores(),
        "training": asdict(options),
        "curve": curve,
    }
    return publish(Corpus((), TRAINING_DATA), out, Kind.GAN, "stylegan", config, metrics, "train_gan")


def _parameters(model: nn.Module) -> float:
    return float(sum(each.numel() for each in model.parameters()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    options.add_argument("--features", type=Path, help="a version of peeps-clip, to find training images")
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        folders = Peeps(chosen.data), Peeps(chosen.held_out), chosen.work, chosen.out
        manifest = train(*folders, settings, chosen.features)
    except (ValueError, OSError) as error:
        options.exit(2, f"train_gan: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
