"""Recipe train_upscaler: pictures of 32 pixels become 64, those 128, by one network that doubles.

python -m services.finetune.recipes.train_upscaler --data var/large --work DIR --out STORE/NAME/VERSION

The folders are of recipe draw_peeps at --size 128. It learns from crops of both scales; some inputs get a
little noise, for what a diffusion model draws is not as clean (Ho et al., "Cascaded diffusion models", 2022).
The same command goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from services.common.store import MANIFEST_NAME, Kind, Manifest
from services.common.upscaling.network import Config, Upscaler
from services.finetune.recipes.average import Average
from services.finetune.recipes.choices.train_upscaler import Options
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.options import lasting, read_flags
from services.finetune.recipes.peeps.dataset import DRAWN, TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import pictures, pixels
from services.finetune.recipes.peeps.uploaded import Sets
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.version import Corpus, begin, finish, manifest_of, publish
from services.finetune.recipes.watching import Watcher

WEIGHTS = "upscaler.safetensors"
SCALES = (32, 64)
"""Pixels of a side that are doubled."""
_CROP = 24
MEASURED = 200
"""Held-out pictures that are measured on."""


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, options: Options) -> None:
        for each in (data, held_out):
            if each.images.shape[1] != DRAWN:
                raise ValueError(f"the avatars have {each.images.shape[1]} pixels a side, {DRAWN} are needed")
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        torch.manual_seed(options.seed)
        self.config = Config()
        self.model = self._device.place(Upscaler(self.config))
        self.average = Average(self.model, options.average)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.rate, weight_decay=0.0, fused=self._device.is_gpu
        )
        self._data = torch.from_numpy(data.images).to(here)
        self._options = options
        self._held_out = pictures(held_out.images[:MEASURED]).to(here)

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self._options
        places = torch.from_numpy(chance.choice(len(self._data), options.batch, replace=False))
        large = pictures(self._data[places.to(self._data.device)])
        small, target = _crops(large, SCALES[step % len(SCALES)], chance)
        strength = (
            chance.random(options.batch) * options.most_noise * (chance.random(options.batch) < options.noisy)
        )
        most = torch.from_numpy(strength).float().to(small.device)[:, None, None, None]
        with self._device.products():
            made = self.model(small + torch.randn_like(small) * most)
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        loss = descend(self.optimiser, rate, functional.l1_loss(made.float(), target))
        self.average.follow(self.model, step)
        return loss

    def quality(self) -> dict[str, float]:
        """Of the average, on held-out pictures."""
        return quality(self.average.model, self._held_out)


@torch.no_grad()
def quality(upscaler: Callable[[Tensor], Tensor], large: Tensor) -> dict[str, float]:
    """Peak signal-to-noise ratios on pictures of 128 pixels a side, in dB, and their lead over bicubic."""
    measured: dict[str, float] = {}
    for scale in SCALES:
        small = _at(large, scale)
        for target in [size for size in (64, 128) if size > scale]:
            made = small
            while made.shape[-1] < target:
                made = upscaler(made)
            bicubic = functional.interpolate(small, size=target, mode="bicubic")
            name = f"{scale}_to_{target}"
            wanted = _at(large, target)
            measured[f"psnr_{name}"] = _psnr(made, wanted)
            measured[f"over_bicubic_{name}"] = measured[f"psnr_{name}"] - _psnr(bicubic, wanted)
    return measured


def _at(large: Tensor, size: int) -> Tensor:
    """Pictures at a smaller size: means of squares."""
    return functional.avg_pool2d(large, large.shape[-1] // size) if size < large.shape[-1] else large


def _crops(large: Tensor, scale: int, chance: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same place of every picture at ``scale`` and at twice that."""
    top, left = chance.integers(0, scale - _CROP + 1, 2).tolist()
    small, target = _at(large, scale), _at(large, 2 * scale)
    flipped = [-1] if chance.random() < 0.5 else []
    small = small[:, :, top : top + _CROP, left : left + _CROP].flip(flipped)
    target = target[:, :, 2 * top : 2 * (top + _CROP), 2 * left : 2 * (left + _CROP)].flip(flipped)
    return small, target


def _psnr(made: Tensor, wanted: Tensor) -> float:
    """Of all pictures' bytes together: pixel art that comes out exact would lift a mean of ratios."""
    error = ((pixels(made).astype(np.float64) - pixels(wanted)) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def published(folder: Path, device: torch.device) -> Upscaler:
    """The network of a version. Raises FileNotFoundError where ``folder`` holds none."""
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} holds no {WEIGHTS}: it is no version of an upscaler")
    config = json.loads((folder / MANIFEST_NAME).read_text())["config"]
    upscaler = Upscaler(Config(**{each.name: config[each.name] for each in fields(Config)}))
    upscaler.load_state_dict({name: each.float() for name, each in load_file(folder / WEIGHTS).items()})
    return upscaler.to(device).eval().requires_grad_(False)


def train(
    data: Peeps,
    held_out: Peeps,
    work: Path,
    out: Path,
    options: Options,
    watcher: Watcher | None = None,
) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for other sizes, or other options than before."""
    begin(out)
    training = Training(data, held_out, options)
    parts: dict[str, Stateful] = {
        "model": training.model,
        "average": training.average,
        "optimiser": training.optimiser,
    }
    course = Resumable(work, parts, lasting(options), options.seed, watcher=watcher)
    course.resume()
    course.run(Pace(options.steps, 500), training.learn, lambda _: training.quality())
    save_file(training.average.halves(), out / WEIGHTS)
    curve = course.curve()
    metrics = {name: value for name, value in curve[-1].items() if name not in {"step", "seconds"}} | {
        "parameters": float(sum(each.numel() for each in training.model.parameters())),
        "training_seconds": round(course.seconds, 1),
    }
    config = asdict(training.config) | {"training": asdict(options), "curve": curve}
    return publish(
        Corpus((), TRAINING_DATA), out, Kind.UPSCALER, "upscaler", config, metrics, "train_upscaler"
    )


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    out = task.candidate(task.steps)
    if not is_whole(out):
        data = Sets.of(task)
        train(data.learnt, data.held_out, task.work, out, task.options(Options), watcher)
    offer_result(watcher, task.steps, out, manifest_of(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        manifest = train(Peeps(chosen.data), Peeps(chosen.held_out), chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"train_upscaler: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
