"""Recipe pretrain_diffusion: pictures from noise, told by text, with one network for all levels of noise.

python -m services.finetune.recipes.pretrain_diffusion --data var/peeps --text STORE/peeps-clip/1 \\
    --work DIR --out STORE/NAME/VERSION

Velocity prediction (Salimans and Ho, 2022) on cosine levels (Nichol and Dhariwal, 2021), classifier-free
guidance (Ho and Salimans, 2022), the average of the weights. The folders come from recipe draw_peeps, the
text tower from recipe pretrain_clip; it stays as it is. The same command goes on where it was stopped.
"""

from __future__ import annotations

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
from services.diffusion.engine import Painting, Question, Text, advance
from services.diffusion.families.unet import Config, Unet
from services.diffusion.guidance import Guidance
from services.diffusion.noise import START, philox
from services.diffusion.schedulers.levels import Array, Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes.average import Average
from services.finetune.recipes.descent import descend
from services.finetune.recipes.options import lasting, read_flags
from services.finetune.recipes.peeps import words
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.drawing import shrink
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import pictures, save_sheet
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.version import Corpus, begin, finish, publish

TOKENIZER_FILE = "tokenizer.json"
LEVELS = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"} | {
    "prediction_type": "v_prediction",
    "clip_sample": True,
}
_MEASURED_LEVELS = (50, 150, 300, 450, 600, 750, 850, 950)
_PREVIEWS, _PREVIEW_STEPS, _PREVIEW_GUIDANCE = 24, 20, Guidance(3.0)


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


class Tower:
    """The text encoder of a peeps-clip version, as it is."""

    def __init__(self, folder: Path) -> None:
        library: Any = transformers  # typed only in part
        library.logging.set_verbosity_error()  # it would warn of the image tower, which is not wanted
        self._tokenizer_file = folder / TOKENIZER_FILE
        if not self._tokenizer_file.is_file():
            raise FileNotFoundError(f"{folder} holds no {TOKENIZER_FILE}: it is no version of a text tower")
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
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        error = functional.mse_loss(self.model(noisy, level, text, mask), velocity)
        loss = descend(self.optimiser, rate, error)
        self.average.follow(self.model, step)
        return loss

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

    def previews(self) -> Tensor:
        """Pictures of held-out captions from fixed noise, by DDIM with guidance."""
        captions = self._captions[:_PREVIEWS]
        states, mask = (each.numpy() for each in self.tower.states([*captions, ""]))
        *told, untold = map(Text, states, mask)
        ddim = SCHEDULERS["ddim"]
        path = ddim.path(self.levels, _PREVIEW_STEPS)
        paintings = []
        for seed, text in enumerate(told):
            noise = philox(seed, self._held_out.shape[1:])
            walk = ddim.walk(self.levels, path, noise(START), noise)
            paintings.append(Painting(walk, self.levels, path.steps, text, untold, _PREVIEW_GUIDANCE))
        eager = _Eager(self.average.model)
        while not all(painting.is_finished for painting in paintings):
            advance(paintings, eager)
        made = [painting.result for painting in paintings if painting.result is not None]
        return torch.from_numpy(np.stack(made))


class _Eager:
    """The network without a graph, as the engine of images asks it."""

    rows = 2 * _PREVIEWS

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    @torch.no_grad()
    def predict(self, questions: Sequence[Question]) -> list[Array]:
        """What it says of each row."""
        samples, states, masks = (
            torch.from_numpy(np.stack(arrays))
            for arrays in zip(
                *((each.sample, each.text.states, each.text.mask) for each in questions), strict=True
            )
        )
        timesteps = torch.tensor([each.timestep for each in questions])
        return list(self._model(samples, timesteps, states, masks).numpy())


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
    course = Resumable(work, parts, lasting(options), options.seed)
    course.resume()

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", columns=8)
        return {"held_out_loss": training.held_out_loss()}

    course.run(Pace(options.steps, 50, 500), training.learn, look)
    return _publish(training, out, options, course)


def _publish(training: Training, out: Path, options: Options, course: Resumable) -> Manifest:
    save_file(training.average.halves(), out / "unet.safetensors")
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
