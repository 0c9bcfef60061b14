"""Recipe distill_diffusion: an adapter that lets a diffusion model paint in few steps, without guidance.

python -m services.finetune.recipes.distill_diffusion --data var/peeps --base STORE/peeps-diffusion/1 \\
    --work DIR --out STORE/NAME/VERSION

Latent consistency distillation into low-rank factors (Luo et al., "LCM-LoRA", 2023): the model with guidance
takes one step of DDIM, and the student is to see the same clean picture before and after it. The adapter is
used with scheduler lcm and guidance 1. The same command goes on where it was stopped.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from services.common.store import MANIFEST_NAME, Kind, Manifest
from services.diffusion.networks.adapted import Adapted, Factors
from services.diffusion.networks.unet import Config, Unet
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.average import Average
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.diffusion.noising import Noising
from services.finetune.recipes.diffusion.painting import Eager, Manner, paint
from services.finetune.recipes.diffusion.tower import Tower
from services.finetune.recipes.options import Run, lasting, read_flags
from services.finetune.recipes.peeps.captioned import Captioned
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import save_sheet
from services.finetune.recipes.pretrain_diffusion import LEVELS_FILE
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.version import Corpus, begin, finish, publish

_PREVIEWS = 24
_SKIPPED = 50
"""The student knows each of so many evenly spaced levels; the teacher steps from one to the next."""


@dataclass(frozen=True)
class Options(Run):
    """Training."""

    rank: int = 16
    guidance: float = 3.0
    """Of the teacher; the student has it in itself."""
    steps: int = 2000
    batch: int = 512
    rate: float = 1e-3
    warm_up: int = 100
    average: float = 0.99
    few: int = 4
    """Steps of the previews."""
    look_every: int = 500


class Training:
    """What a step learns and what is looked at of it."""

    def __init__(self, data: Peeps, held_out: Peeps, base: Path, options: Options) -> None:
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        self.tower = Tower(base / "text", here)
        self._manifest = Manifest.model_validate_json((base / MANIFEST_NAME).read_text())
        self.config = Config.of(cast("Mapping[str, Any]", self._manifest.config["unet"]))
        self._data = Captioned(data, self.config.size, self.tower.tokenizer, here, options.seed)
        self.teacher = self._network(base)
        self.adapted = Adapted(copy.deepcopy(self.teacher))
        torch.manual_seed(options.seed)
        self.factors = Factors(self.adapted, options.rank).to(here)
        self.average = Average(self.factors, options.average)
        self.levels = Levels.of_config(json.loads((base / LEVELS_FILE).read_text()))
        self._noising = Noising(self.levels, here)
        self._options = options
        self._captions = [full_caption(avatar) for avatar in held_out.avatars[:_PREVIEWS]]
        self._untold = self.tower.encode([""])
        self.optimiser = torch.optim.AdamW(
            self.factors.parameters(), lr=options.rate, weight_decay=0.0, fused=self._device.is_gpu
        )

    def _network(self, base: Path) -> nn.Module:
        network = Unet(self.config)
        network.load_state_dict(load_file(base / "unet.safetensors"))  # 16 bits become 32
        return self._device.place(network).eval().requires_grad_(False)

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self._options
        batch = self._data.draw(options.batch, chance)
        text = self.tower.states(batch.ids, batch.mask)
        stride = self.levels.count // _SKIPPED
        place = torch.from_numpy(chance.integers(0, _SKIPPED, options.batch)).to(text.device)
        level = (place + 1) * stride - 1
        noise = torch.randn_like(batch.pictures)
        noisy, _ = self._noising.mix(batch.pictures, noise, level)
        with torch.no_grad(), self._device.products():
            goal = self._goal(noisy, level, place, stride, text, batch.mask)
        with self._device.products():
            said = self.factors.said(self.adapted, (noisy, level, text, batch.mask))
        seen, _ = self._noising.clean(noisy, said.float(), level)
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        loss = descend(self.optimiser, rate, _pseudo_huber(seen, goal))
        self.average.follow(self.factors, step)
        return loss

    def _goal(
        self, noisy: Tensor, level: Tensor, place: Tensor, stride: int, text: Tensor, mask: Tensor
    ) -> Tensor:
        """What the student's average sees a step of the teacher later; at the last level, the teacher."""
        untold, shown = self._untold
        blank = self.tower.states(untold, shown).expand(len(noisy), -1, -1)
        told = self.teacher(noisy, level, text, mask).float()
        without = self.teacher(noisy, level, blank, shown.expand(len(noisy), -1)).float()
        steered = without + self._options.guidance * (told - without)
        clean, _ = self._noising.clean(noisy, steered, level)
        clean = clean.clamp(-1, 1)
        earlier = (level - stride).clamp(min=0)
        later, _ = self._noising.mix(clean, self._noising.left(noisy, clean, level), earlier)
        student = self.average.model
        said = student.said(self.adapted, (later, earlier, text, mask)).float()
        seen, _ = self._noising.clean(later, said, earlier)
        is_last = (place == 0)[:, None, None, None]
        return torch.where(is_last, clean, seen.clamp(-1, 1))

    def previews(self) -> Tensor:
        """Pictures of held-out captions from fixed noise, in few steps."""
        student = self.average.model

        def network(*inputs: Tensor) -> Tensor:
            return student.said(self.adapted, inputs)

        shape = (self.config.channels, self.config.size, self.config.size)
        manner = Manner("lcm", self._options.few, 1.0)
        return paint(
            Eager(network, self._device.torch), self.tower, self._captions, shape, self.levels, manner
        )

    def save(self, out: Path) -> dict[str, float]:
        """Write the adapter as PEFT does; returns figures."""
        student = self.average.model
        weights: dict[str, Tensor] = {}
        for name, down, up in zip(self.adapted.names, student.downs, student.ups, strict=True):
            weights[f"base_model.model.{name}.lora_A.weight"] = down.detach().half().contiguous().cpu()
            weights[f"base_model.model.{name}.lora_B.weight"] = up.detach().half().contiguous().cpu()
        save_file(weights, out / "adapter_model.safetensors")
        base = {"base_model_name_or_path": f"{self._manifest.name}:{self._manifest.version}"}
        rank = {"r": student.rank, "lora_alpha": student.rank, "target_modules": list(self.adapted.names)}
        (out / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | base | rank, indent=2))
        return {"parameters": float(sum(each.numel() for each in weights.values()))}

    @property
    def base(self) -> Manifest:
        """The model that the adapter is for."""
        return self._manifest


def _pseudo_huber(seen: Tensor, goal: Tensor) -> Tensor:
    """Song and Dhariwal, 2023, section 3.3, by pictures."""
    width = 0.00054 * goal[0].numel() ** 0.5
    squares = (seen - goal).square().flatten(1).sum(1)
    distances: Tensor = (squares + width**2).sqrt() - width
    loss: Tensor = distances.mean() / goal[0].numel() ** 0.5
    return loss


def train(data: Peeps, held_out: Peeps, base: Path, work: Path, out: Path, options: Options) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options."""
    begin(out)
    training = Training(data, held_out, base, options)
    parts: dict[str, Stateful] = {
        "factors": training.factors,
        "average": training.average,
        "optimiser": training.optimiser,
    }
    course = Resumable(work, parts, lasting(options), options.seed)
    course.resume()

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", columns=8)
        return {}

    course.run(Pace(options.steps, options.look_every), training.learn, look)
    curve = course.curve()
    metrics = training.save(out) | {
        "loss": curve[-1]["loss"],
        "pictures_seen": float(options.steps * options.batch),
        "training_seconds": round(course.seconds, 1),
    }
    config = {
        "peft_type": "LORA",
        "base": f"{training.base.name}:{training.base.version}",
        "base_digest": training.base.digest,
        "defaults": {"scheduler": "lcm", "steps": options.few, "guidance_scale": 1.0},
        "training": asdict(options),
        "curve": curve,
    }
    return publish(Corpus((), TRAINING_DATA), out, Kind.ADAPTER, "lora", config, metrics, "distill_diffusion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    options.add_argument("--base", type=Path, required=True, help="version of the diffusion model")
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        data, held_out = Peeps(chosen.data), Peeps(chosen.held_out)
        manifest = train(data, held_out, chosen.base, chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"distill_diffusion: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
