"""Recipe pretrain_diffusion: pictures from noise, told by text, with one network for all levels of noise.

python -m services.finetune.recipes.pretrain_diffusion --data var/peeps --text STORE/peeps-clip/1 \\
    --work DIR --out STORE/NAME/VERSION

Velocity prediction (Salimans and Ho, 2022) on cosine levels (Nichol and Dhariwal, 2021), classifier-free
guidance (Ho and Salimans, 2022), the average of the weights. The folders come from recipe draw_peeps, the
text tower from recipe pretrain_clip; it stays as it is. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from services.common.store import Kind, Manifest
from services.diffusion.families.unet import Config, Unet
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.average import Average
from services.finetune.recipes.peeps import words
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.drawing import shrink
from services.finetune.recipes.peeps.pictures import pictures, save_sheet
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.version import Corpus, begin, finish, publish

TOKENIZER_FILE = "tokenizer.json"
LEVELS = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"} | {
    "prediction_type": "v_prediction",
    "clip_sample": True,
}
_MEASURED_LEVELS = (50, 150, 300, 450, 600, 750, 850, 950)
_PREVIEWS, _PREVIEW_STEPS, _PREVIEW_GUIDANCE = 24, 20, 3.0


@dataclass(frozen=True)
class Options:
    """Training; the defaults are those of the shipped ``peeps-diffusion``."""

    steps: int = 14_000
    batch: int = 32
    rate: float = 1e-3
    decay: float = 0.01
    warm_up: int = 300
    untold: float = 0.1
    """Share of the pictures that come without their caption."""
    average: float = 0.999
    seed: int = 1
    threads: int = 1

    @property
    def lasting(self) -> dict[str, Any]:
        """What a checkpoint cannot change under."""
        return {name: value for name, value in asdict(self).items() if name != "threads"}


class Tower:
    """The text encoder of a peeps-clip version, as it is."""

    def __init__(self, folder: Path) -> None:
        library: Any = transformers  # typed only in part
        library.logging.set_verbosity_error()  # it would warn of the image tower, which is not wanted
        self._tokenizer_file = folder / TOKENIZER_FILE
        self.tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        self._model = library.CLIPTextModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        self._model.eval().requires_grad_(False)

    def states(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States [texts, tokens, width] and what of them is no padding [texts, tokens]."""
        ids, mask = map(torch.from_numpy, words.encode(self.tokenizer, texts))
        return self._model(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool()

    def save(self, folder: Path) -> None:
        """Write the tower alone, as a directory of Transformers."""
        self._model.half().save_pretrained(folder)
        shutil.copyfile(self._tokenizer_file, folder / TOKENIZER_FILE)


class Noising:
    """Pictures at levels of noise, and what the network is to say of them."""

    def __init__(self, levels: Levels) -> None:
        squares = torch.from_numpy(levels.signal_squares).float()
        self._signal, self._noise = squares.sqrt(), (1 - squares).sqrt()

    def mix(self, clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(noisy pictures, velocities) at ``level`` [n]."""
        signal, share = (each[level][:, None, None, None] for each in (self._signal, self._noise))
        return signal * clean + share * noise, signal * noise - share * clean


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, text: Path, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.config = Config()
        self.model = Unet(self.config)
        self.average = Average(self.model, options.average)
        self.tower = Tower(text)
        self.levels = Levels.of_config(LEVELS)
        self._data, self._options = data, options
        self._noising = Noising(self.levels)
        self._held_out = pictures(shrink(held_out.images, self.config.size))
        self._captions = [full_caption(avatar) for avatar in held_out.avatars]
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=options.decay
        )

    def learn(self, step: int, chance: np.random.Generator) -> float:
        """One step."""
        options = self._options
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * cosine(step, options.steps, options.warm_up)
        places = np.sort(chance.choice(len(self._data), options.batch, replace=False))
        clean = pictures(shrink(self._data.images[places], self.config.size))
        told = chance.random(options.batch) >= options.untold
        captions = self._data.captions(places.tolist(), chance)
        text, mask = self.tower.states(
            [each if known else "" for each, known in zip(captions, told, strict=True)]
        )
        # One level from each of as many equal parts, so that every step sees all kinds.
        shares = (np.arange(options.batch) + chance.random(options.batch)) / options.batch
        level = torch.from_numpy((chance.permutation(shares) * self.levels.count).astype(np.int64))
        noisy, velocity = self._noising.mix(clean, torch.randn_like(clean), level)
        self.optimiser.zero_grad(set_to_none=True)
        loss = functional.mse_loss(self.model(noisy, level, text, mask), velocity)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.follow(self.model, step)
        return loss.item()

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Of the average, at fixed levels with fixed noise."""
        chance = torch.Generator().manual_seed(0)
        losses = []
        for level in _MEASURED_LEVELS:
            clean = self._held_out[:64]
            noise = torch.randn(clean.shape, generator=chance)
            levels = torch.full((len(clean),), level)
            noisy, velocity = self._noising.mix(clean, noise, levels)
            said = self.average.model(noisy, levels, *self.tower.states(self._captions[: len(clean)]))
            losses.append(functional.mse_loss(said, velocity).item())
        return float(np.mean(losses))

    @torch.no_grad()
    def previews(self) -> Tensor:
        """Pictures of held-out captions from fixed noise, by DDIM with guidance."""
        captions = self._captions[:_PREVIEWS]
        text, mask = self.tower.states([*captions, *[""] * len(captions)])
        size = self.config.size
        x = torch.randn(len(captions), 3, size, size, generator=torch.Generator().manual_seed(0))
        timesteps = np.arange(_PREVIEW_STEPS)[::-1] * (self.levels.count // _PREVIEW_STEPS)
        squares = [float(self.levels.signal_squares[t]) for t in timesteps] + [1.0]
        for step, timestep in enumerate(timesteps):
            signal, share = squares[step] ** 0.5, (1 - squares[step]) ** 0.5
            level = torch.full((2 * len(captions),), int(timestep))
            told, untold = self.average.model(torch.cat((x, x)), level, text, mask).chunk(2)
            said = untold + _PREVIEW_GUIDANCE * (told - untold)
            clean = (signal * x - share * said).clamp(-1, 1)
            noise = (x - signal * clean) / share
            x = squares[step + 1] ** 0.5 * clean + (1 - squares[step + 1]) ** 0.5 * noise
        return x


def train(data: Peeps, held_out: Peeps, text: Path, work: Path, out: Path, options: Options) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options."""
    torch.set_num_threads(options.threads)
    begin(out)
    training = Training(data, held_out, text, options)
    parts: dict[str, Stateful] = {
        "model": training.model,
        "average": training.average,
        "optimiser": training.optimiser,
    }
    course = Resumable(work, parts, options.lasting, options.seed)
    course.resume()

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", columns=8)
        return {"held_out_loss": training.held_out_loss()}

    course.run(Pace(options.steps, 50, 500), training.learn, look)
    return _publish(training, out, options, course)


def _publish(training: Training, out: Path, options: Options, course: Resumable) -> Manifest:
    weights = {name: value.half().contiguous() for name, value in training.average.model.state_dict().items()}
    save_file(weights, out / "unet.safetensors")
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
        "levels": LEVELS,
        "training": asdict(options),
        "curve": curve,
    }
    corpus = Corpus((), TRAINING_DATA)
    return publish(corpus, out, Kind.DIFFUSION, "unet", config, metrics, "pretrain_diffusion")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="avatars to learn from")
    options.add_argument("--held-out", type=Path, default=HELD_OUT_FOLDER, help="avatars to measure on")
    options.add_argument("--text", type=Path, required=True, help="version of the text tower")
    options.add_argument("--work", type=Path, required=True, help="folder of checkpoints, curve and previews")
    options.add_argument("--out", type=Path, required=True, help="folder of the new version")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    for name, default in asdict(Options()).items():
        flag = f"--{name.replace('_', '-')}"
        options.add_argument(flag, type=type(default), default=default, help="(%(default)s)")
    chosen = options.parse_args(arguments)
    settings = Options(**{name: getattr(chosen, name) for name in asdict(Options())})
    try:
        data, held_out = Peeps(chosen.data), Peeps(chosen.held_out)
        manifest = train(data, held_out, chosen.text, chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"pretrain_diffusion: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
