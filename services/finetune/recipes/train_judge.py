"""Recipe train_judge: a classifier of what avatars show, to measure generators by.

python -m services.finetune.recipes.train_judge --data var/peeps --work DIR --out STORE/NAME/VERSION

The folder comes from recipe draw_peeps; it is shrunk to 32 pixels a side. The last of its avatars are kept
back, for 500 held-out ones say little of rare words. Drawings are made a little noisy and blurred, so that it
is not upset by the traces that generators leave. The same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from services.common.store import Kind, Manifest
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.judge.judging import WEIGHTS
from services.finetune.recipes.judge.network import Config, Network
from services.finetune.recipes.judge.vocabulary import NONE, WORDS, labels
from services.finetune.recipes.options import Run, lasting, read_flags
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.version import Corpus, begin, finish, publish

COUNTS = 0.97
"""Share of drawings that must be told right for an attribute to count."""
_ROWS = 500


@dataclass(frozen=True)
class Options(Run):
    """Training; the defaults are those of the shipped ``peeps-judge``."""

    steps: int = 5000
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.02
    warm_up: int = 100
    kept_back: int = 2000
    """Avatars at the end of the folder that it does not learn from."""
    worn: float = 0.5
    """Share of the pictures that are blurred or noisy."""
    most_noise: float = 0.1
    """Standard deviation of the most noise, where black is -1 and white 1."""
    look_every: int = 1250


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, data: Peeps, held_out: Peeps, options: Options) -> None:
        """Raises ValueError where nothing is left to learn from."""
        if not 0 < options.kept_back < len(data):
            raise ValueError(f"of {len(data)} avatars, {options.kept_back} cannot be kept back")
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        torch.manual_seed(options.seed)
        self.config = Config(tuple(map(len, WORDS.values())))
        self.model = self._device.place(Network(self.config))
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.rate, weight_decay=options.decay, fused=self._device.is_gpu
        )
        self._options = options
        self._learnt = len(data) - options.kept_back
        self._images = torch.from_numpy(data.at(self.config.size)).to(here)
        self._labels = torch.from_numpy(labels(data.avatars)).to(here)
        self._held_out = (
            torch.from_numpy(held_out.at(self.config.size)).to(here),
            torch.from_numpy(labels(held_out.avatars)).to(here),
        )

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self._options
        places = torch.from_numpy(chance.choice(self._learnt, options.batch, replace=False))
        places = places.to(self._images.device)
        seen = worn(pictures(self._images[places]), options, chance)
        with self._device.products():
            logits = self.model(seen)
        wanted = self._labels[places]
        heads = self.model.split(logits.float())
        losses = [functional.cross_entropy(head, wanted[:, place]) for place, head in enumerate(heads)]
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        return descend(self.optimiser, rate, torch.stack(losses).sum())

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Shares told right of the held-out and of the kept-back, and of both together where it is named."""
        held_out, kept_back = self._held_out, (self._images[self._learnt :], self._labels[self._learnt :])
        here, there = self._right(*held_out), self._right(*kept_back)
        both, wanted = torch.cat((here, there)), torch.cat((held_out[1], kept_back[1]))
        measured: dict[str, float] = {}
        for place, (name, words) in enumerate(WORDS.items()):
            named = wanted[:, place] >= (1 if words[0] == NONE else 0)
            measured[f"held_out_{name}"] = here[:, place].float().mean().item()
            measured[f"kept_back_{name}"] = there[:, place].float().mean().item()
            measured[f"named_{name}"] = both[named, place].float().mean().item() if named.any() else 0.0
        return measured

    def _right(self, images: Tensor, wanted: Tensor) -> Tensor:
        """[n, attributes] of bool."""
        said = torch.cat([self.model.says(pictures(each)) for each in torch.split(images, _ROWS)])
        return said == wanted


def worn(clean: Tensor, options: Options, chance: np.random.Generator) -> Tensor:
    """A share of the pictures a little blurred, and noisy, each by its own strength."""
    count = len(clean)
    strengths = chance.random((2, count)) * (chance.random((2, count)) < options.worn)
    blur, noise = torch.from_numpy(strengths).float().to(clean.device)[..., None, None, None].unbind()
    padded = functional.pad(clean, (1, 1, 1, 1), mode="replicate")
    blurred = torch.lerp(clean, functional.avg_pool2d(padded, 3, stride=1), 0.5 * blur)
    noisy: Tensor = blurred + torch.randn_like(clean) * noise * options.most_noise
    return noisy


def counted(measured: dict[str, float]) -> list[str]:
    """Attributes told right often enough: held-out, kept-back, and where an avatar has one at all."""
    kinds = ("held_out", "kept_back", "named")
    return [name for name in WORDS if all(measured[f"{kind}_{name}"] >= COUNTS for kind in kinds)]


def train(data: Peeps, held_out: Peeps, work: Path, out: Path, options: Options) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options."""
    begin(out)
    training = Training(data, held_out, options)
    parts: dict[str, Stateful] = {"model": training.model, "optimiser": training.optimiser}
    course = Resumable(work, parts, lasting(options), options.seed)
    course.resume()
    course.run(Pace(options.steps, options.look_every), training.learn, lambda _: training.measure())
    training.model.half().float()  # measured as it is shipped
    measured = training.measure()
    halves = {name: value.half().contiguous().cpu() for name, value in training.model.state_dict().items()}
    save_file(halves, out / WEIGHTS)
    curve = course.curve()
    metrics = measured | {
        "parameters": float(sum(each.numel() for each in training.model.parameters())),
        "pictures_seen": float(curve[-1]["step"] * options.batch),
        "training_seconds": round(course.seconds, 1),
    }
    config = {
        "size": training.config.size,
        "widths": list(training.config.widths),
        "words": {name: list(words) for name, words in WORDS.items()},
        "counted": counted(measured),
        "training": asdict(options),
        "curve": curve,
    }
    return publish(Corpus((), TRAINING_DATA), out, Kind.CLASSIFIER, "judge", config, metrics, "train_judge")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        manifest = train(Peeps(chosen.data), Peeps(chosen.held_out), chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"train_judge: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
