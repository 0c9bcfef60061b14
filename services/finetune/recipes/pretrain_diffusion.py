"""Recipe pretrain_diffusion: pictures from noise, told by text, with one network for all levels of noise.

python -m services.finetune.recipes.pretrain_diffusion --data var/peeps --text STORE/peeps-clip/2 \\
    --work DIR --out STORE/NAME/VERSION

Velocity prediction (Salimans and Ho, 2022) on cosine levels (Nichol and Dhariwal, 2021), classifier-free
guidance (Ho and Salimans, 2022), the average of the weights. The folders come from recipe draw_peeps, the
text tower from recipe pretrain_clip; it stays as it is. The same command goes on where it was stopped.
On a CPU add --batch 32 --steps 14000, which takes some hours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from services.common.store import Kind, Manifest
from services.diffusion.networks.unet import Config, Unet
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.average import Average
from services.finetune.recipes.choices.pretrain_diffusion import Options
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.diffusion.noising import Noising, cosine_levels
from services.finetune.recipes.diffusion.painting import Eager, Manner, paint
from services.finetune.recipes.diffusion.tower import Tower
from services.finetune.recipes.options import lasting, read_flags
from services.finetune.recipes.peeps.captioned import Captioned
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.drawing import shrink
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import pictures, save_sheet
from services.finetune.recipes.peeps.uploaded import Sets
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.version import Corpus, begin, finish, manifest_of, publish
from services.finetune.recipes.watching import Watcher

LEVELS_FILE = "scheduler_config.json"
DEFAULTS = {"scheduler": "dpmpp_2m", "steps": 20, "guidance_scale": 3.0}
"""How pictures are made of it unless a request says otherwise."""
_MEASURED_LEVELS = (50, 150, 300, 450, 600, 750, 850, 950)
_PREVIEWS = 24


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, text: Path, options: Options) -> None:
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        self.config = Config()
        self.tower = Tower(text, here)
        self._data = Captioned(data, self.config.size, self.tower.tokenizer, here, options.seed)
        torch.manual_seed(options.seed)
        self.model = self._device.place(Unet(self.config))
        self.average = Average(self.model, options.average)
        self.levels = Levels.of_config(cosine_levels())
        self._options = options
        self._noising = Noising(self.levels, here)
        self._held_out = pictures(shrink(held_out.images, self.config.size)).to(here)
        self._captions = [full_caption(avatar) for avatar in held_out.avatars]
        self._untold = self.tower.encode([""])
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=options.rate,
            betas=(0.9, 0.99),
            weight_decay=options.decay,
            fused=self._device.is_gpu,
        )

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self._options
        batch = self._data.draw(options.batch, chance)
        untold = torch.from_numpy(chance.random(options.batch) < options.untold)
        ids, mask = _without(batch.ids, batch.mask, untold.to(batch.ids.device), *self._untold)
        level = self._noising.draw(options.batch, chance)
        noisy, velocity = self._noising.mix(batch.pictures, torch.randn_like(batch.pictures), level)
        text = self.tower.states(ids, mask)
        with self._device.products():
            said = self.model(noisy, level, text, mask)
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        loss = descend(self.optimiser, rate, functional.mse_loss(said.float(), velocity))
        self.average.follow(self.model, step)
        return loss

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Of the average, at fixed levels with fixed noise."""
        chance = torch.Generator().manual_seed(0)
        losses = []
        clean = self._held_out[:64]
        ids, mask = self.tower.encode(self._captions[: len(clean)])
        for level in _MEASURED_LEVELS:
            noise = torch.randn(clean.shape, generator=chance).to(clean.device)
            levels = torch.full((len(clean),), level, device=clean.device)
            noisy, velocity = self._noising.mix(clean, noise, levels)
            said = self.average.model(noisy, levels, self.tower.states(ids, mask), mask)
            losses.append(functional.mse_loss(said, velocity).item())
        return float(np.mean(losses))

    def previews(self) -> Tensor:
        """Pictures of held-out captions from fixed noise."""
        eager = Eager(self.average.model, self._device.torch)
        shape = self._held_out.shape[1:]
        return paint(eager, self.tower, self._captions[:_PREVIEWS], shape, self.levels, Manner())


def _without(
    ids: Tensor, mask: Tensor, untold: Tensor, empty: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    """Ids and mask where the rows ``untold`` are the ``empty`` text."""
    blank = functional.pad(empty, (0, ids.shape[1] - empty.shape[1]))
    hidden = functional.pad(shown, (0, ids.shape[1] - empty.shape[1]))
    return torch.where(untold[:, None], blank, ids), torch.where(untold[:, None], hidden, mask)


def train(
    data: Peeps,
    held_out: Peeps,
    text: Path,
    work: Path,
    out: Path,
    options: Options,
    watcher: Watcher | None = None,
) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options."""
    begin(out)
    training = Training(data, held_out, text, options)
    parts: dict[str, Stateful] = {
        "model": training.model,
        "average": training.average,
        "optimiser": training.optimiser,
    }
    course = Resumable(work, parts, lasting(options), options.seed, watcher=watcher)
    course.resume()

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", columns=8)
        return {"held_out_loss": training.held_out_loss()}

    course.run(Pace(options.steps, options.look_every), training.learn, look)
    return _publish(training, out, options, course)


def _publish(training: Training, out: Path, options: Options, course: Resumable) -> Manifest:
    save_file(training.average.halves(), out / "unet.safetensors")
    (out / LEVELS_FILE).write_text(json.dumps(cosine_levels()))
    training.tower.save(out / "text")
    curve = course.curve()
    last = curve[-1]
    metrics = {
        "held_out_loss": last["held_out_loss"],
        "loss": last["loss"],
        "parameters": float(sum(each.numel() for each in training.model.parameters())),
        "pictures_seen": float(last["step"] * options.batch),
        "training_seconds": round(course.seconds, 1),
    }
    config = {"unet": json.loads(json.dumps(asdict(training.config)))} | {
        "defaults": DEFAULTS,
        "training": asdict(options),
        "curve": curve,
    }
    corpus = Corpus((), TRAINING_DATA)
    return publish(corpus, out, Kind.DIFFUSION, "unet", config, metrics, "pretrain_diffusion")


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    out = task.candidate(task.steps)
    if not is_whole(out):
        if "text" not in task.aids:
            raise ValueError("there is no text tower: recipe pretrain_clip makes one, called peeps-clip")
        data, options = Sets.of(task), task.options(Options)
        train(data.learnt, data.held_out, task.aids["text"], task.work, out, options, watcher)
    offer_result(watcher, task.steps, out, manifest_of(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    options.add_argument("--text", type=Path, required=True, help="version of the text tower")
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        data, held_out = Peeps(chosen.data), Peeps(chosen.held_out)
        manifest = train(data, held_out, chosen.text, chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"pretrain_diffusion: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
