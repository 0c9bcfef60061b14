"""Recipe diffusion_per_level: a network for each level of noise, beside one network that is told the level.

python -m services.finetune.recipes.diffusion_per_level --data var/peeps --work DIR [--clip CLIP/1]

A lesson, not a model to serve: small avatars without captions over few levels. Both are trained for the
same number of steps in all, so each network of the first has a share of them. What comes out is a table,
and sheets of pictures in the work folder. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from services.diffusion.networks.unet import Config
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.diffusion.levelled import Ladder, PerLevel, Told, places
from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.measures.sets import kid
from services.finetune.recipes.options import Run, add_flags, lasting, read_flags
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.drawing import at_size
from services.finetune.recipes.peeps.pictures import pictures, pixels, save_sheet
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine

FORMS = {"per-level": "a network for each level", "told": "one network, told the level"}
_SHOWN = 48


@dataclass(frozen=True)
class Options(Run):
    """Sizes and training."""

    levels: int = 8
    size: int = 16
    """Pixels of a side."""
    width: int = 32
    """Channels at the first resolution; twice as many at the second."""
    steps: int = 4000
    """Of all networks together."""
    batch: int = 32
    rate: float = 2e-3
    warm_up: int = 100
    look_every: int = 1000
    painted: int = 500
    """Pictures that are made at the end."""


@dataclass(frozen=True)
class Outcome:
    """What one form came to."""

    networks: int
    parameters: int
    steps_of_each: float
    training_seconds: float
    sampling_seconds: float
    held_out_loss: float
    losses: list[float]
    """By level, from the least noise to the most."""
    pictures: Tensor


class Training:
    """What a step of one form learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, form: str, options: Options) -> None:
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        self._options, self.apart = options, form == "per-level"
        self.ladder = Ladder(options.levels, here)
        widths = (options.width, 2 * options.width)
        config = Config(
            options.size, widths=widths, blocks=1, attends=(False, True), text_width=options.width
        )
        torch.manual_seed(options.seed)
        network = PerLevel(config, self.ladder.timesteps) if self.apart else Told(config)
        self.model: nn.Module = self._device.place(network)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.rate, weight_decay=0.01, fused=self._device.is_gpu
        )
        self._images = torch.from_numpy(at_size(data.images, options.size)).to(here)
        self._held_out = pictures(at_size(held_out.images, options.size)).to(here)

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step; of networks for each level, it is the turn of one."""
        options, here = self._options, self._device.torch
        chosen = torch.from_numpy(chance.choice(len(self._images), options.batch, replace=False)).to(here)
        clean = pictures(self._images[chosen])
        level = self.ladder.told(places(step, options.batch, options.levels, self.apart, chance))
        noisy, velocity = self.ladder.up(clean, torch.randn_like(clean), level)
        with self._device.products():
            said = self.model(noisy, level)
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        return descend(self.optimiser, rate, functional.mse_loss(said.float(), velocity))

    @torch.no_grad()
    def losses(self) -> list[float]:
        """Of held-out pictures at each level, with fixed noise."""
        chance = torch.Generator().manual_seed(0)
        clean, losses = self._held_out, []
        for place in range(len(self.ladder)):
            level = self.ladder.told([place] * len(clean))
            noise = torch.randn(clean.shape, generator=chance).to(clean.device)
            noisy, velocity = self.ladder.up(clean, noise, level)
            losses.append(functional.mse_loss(self.model(noisy, level), velocity).item())
        return losses

    def paint(self, count: int) -> Tensor:
        """Pictures from fixed noise, as a file would hold them."""
        chance = torch.Generator().manual_seed(0)
        noise = torch.randn(count, *self._held_out.shape[1:], generator=chance).to(self._device.torch)
        return pictures(pixels(self.ladder.down(self.model, noise)))


def train(data: Peeps, held_out: Peeps, form: str, work: Path, options: Options) -> Outcome:
    """Train one form. Raises ValueError for a work folder of other options."""
    training = Training(data, held_out, form, options)
    parts: dict[str, Stateful] = {"model": training.model, "optimiser": training.optimiser}
    course = Resumable(work, parts, lasting(options, {"threads", "device", "painted"}), options.seed)
    course.resume()

    def look(_: int) -> dict[str, float]:
        return {"held_out_loss": float(np.mean(training.losses()))}

    course.run(Pace(options.steps, options.look_every), training.learn, look)
    training.paint(_SHOWN)  # the first time is slower
    started = time.perf_counter()
    made = training.paint(options.painted)
    sampling = time.perf_counter() - started
    save_sheet(made[:_SHOWN], work.with_suffix(".png"), columns=12)
    losses, networks = training.losses(), options.levels if training.apart else 1
    return Outcome(
        networks=networks,
        parameters=sum(each.numel() for each in training.model.parameters()),
        steps_of_each=options.steps / networks,
        training_seconds=course.seconds,
        sampling_seconds=sampling,
        held_out_loss=float(np.mean(losses)),
        losses=losses,
        pictures=made,
    )


def distances(
    outcomes: Sequence[Outcome], held_out: Peeps, clip: Path, options: Options
) -> tuple[str, list[str]]:
    """The features' name, and each form's kernel distance to the held-out drawings with its deviation."""
    features = Features(clip, Device(options.device, options.threads).torch)
    drawn = features.of(pictures(at_size(held_out.images, options.size)))
    found = [kid(features.of(outcome.pictures), drawn) for outcome in outcomes]
    return features.name, [f"{each.mean:.4f} (+-{each.deviation:.4f})" for each in found]


def table(outcomes: Sequence[Outcome], more: Sequence[tuple[str, Sequence[str]]]) -> str:
    """In Markdown, a column for each form."""
    count = len(outcomes[0].pictures)
    rows = [
        ("", list(FORMS.values())),
        ("networks", [str(each.networks) for each in outcomes]),
        ("parameters", [f"{each.parameters:,}" for each in outcomes]),
        ("training steps of each network", [f"{each.steps_of_each:,.0f}" for each in outcomes]),
        ("training, s", [f"{each.training_seconds:.1f}" for each in outcomes]),
        (f"making {count} pictures, s", [f"{each.sampling_seconds:.2f}" for each in outcomes]),
        ("held-out loss", [f"{each.held_out_loss:.4f}" for each in outcomes]),
        ("  at the least noise", [f"{each.losses[0]:.4f}" for each in outcomes]),
        ("  at the most noise", [f"{each.losses[-1]:.4f}" for each in outcomes]),
        *more,
    ]
    lines = [f"| {title:32} | {' | '.join(f'{cell:>27}' for cell in cells)} |" for title, cells in rows]
    ruler = f"|{'-' * 34}|{'|'.join('-' * 29 for _ in outcomes)}|"
    return "\n".join([lines[0], ruler, *lines[1:], ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="avatars to learn from")
    parser.add_argument("--held-out", type=Path, default=HELD_OUT_FOLDER, help="avatars to measure on")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints, curves and pictures")
    parser.add_argument(
        "--clip", type=Path, help="version of peeps-clip, to measure the distance to drawings"
    )
    add_flags(parser, Options())
    chosen = parser.parse_args(arguments)
    options = read_flags(Options, chosen)
    try:
        data, held_out = Peeps(chosen.data), Peeps(chosen.held_out)
        outcomes = [train(data, held_out, form, chosen.work / form, options) for form in FORMS]
        more = []
        if chosen.clip:
            name, found = distances(outcomes, held_out, chosen.clip, options)
            more.append((f"kid@{name}", found))
    except (ValueError, OSError) as error:
        parser.exit(2, f"diffusion_per_level: {error}\n")
    shown = table(outcomes, more)
    facts = {
        form: asdict(each) | {"pictures": len(each.pictures)}
        for form, each in zip(FORMS, outcomes, strict=True)
    }
    (chosen.work / "outcome.json").write_text(
        json.dumps({"options": asdict(options), "forms": facts}, indent=2)
    )
    (chosen.work / "table.md").write_text(shown)
    sys.stdout.write(shown)


if __name__ == "__main__":
    main()
