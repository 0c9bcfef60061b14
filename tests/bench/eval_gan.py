"""Measures what peeps-gan makes; run as ``python -m tests.bench.eval_gan``.

Kernel distance of features, precision and recall against held-out drawings, and the entropy of what the judge
says they show, as a share of the drawings': of pictures made with nothing stated, made of the drawings'
attributes, painted by peeps-diffusion of the drawings' captions, and drawn anew (of ``--data``, else one half
of the drawings against the other). All are at the GAN's own size, and compared with as many drawings. And how
near projections of drawings come, and how many of the drawings' attributes they keep.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes.device import NAMES, Device
from services.finetune.recipes.diffusion.painter import Painter
from services.finetune.recipes.diffusion.painting import Manner
from services.finetune.recipes.gan.diversity import entropies
from services.finetune.recipes.gan.maker import Maker
from services.finetune.recipes.judge.judging import Judge, shrunk
from services.finetune.recipes.judge.vocabulary import labels
from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.measures.sets import NEIGHBOURS, Points, coverage, kid
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.drawing import at_size
from services.finetune.recipes.peeps.pictures import pictures, pixels, save_sheet
from services.finetune.recipes.peeps.vector import vectors
from tests.bench.eval_images import MODELS, drawn_twice
from tests.bench.gan.projected import Projector, decibels
from tests.bench.report import Report

SHIPPED = {
    "model": ("peeps-gan/1", "train_gan"),
    "diffusion": ("peeps-diffusion/1", "pretrain_diffusion"),
    "clip": ("peeps-clip/2", "pretrain_clip"),
    "judge": ("peeps-judge/1", "train_judge"),
}
"""The version that stands for each, and the recipe that makes such."""
ENTROPY = 0.9
OPEN, STATED, PAINTED, DRAWN = "made", "made_of_attributes", "painted", "drawn"
PROJECTED = "projected"
CONTACTS, CONTACT_COLUMNS = 24, 8


@dataclass
class Findings:
    """Figures by name, each by what was measured."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)

    def add(self, of: str, sizes: str, values: dict[str, float]) -> None:
        """What was found ``of`` some pictures."""
        self.sizes[of] = sizes
        for name, value in values.items():
            self.figures.setdefault(name, {})[of] = value


class Subject:
    """The models, the drawings and how all are compared."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        """Raises ValueError for what cannot be measured."""
        self.chosen, device = chosen, Device(chosen.device, chosen.threads).torch
        self.manner = read_flags(Manner, chosen)
        if self.manner.scheduler not in SCHEDULERS:
            raise ValueError(
                f"scheduler is {self.manner.scheduler!r}, one of {', '.join(SCHEDULERS)} is needed"
            )
        if min(chosen.count, chosen.painted or chosen.count) < 2 * (NEIGHBOURS + 1) or self.manner.steps < 1:
            raise ValueError(f"--count and --painted begin at {2 * (NEIGHBOURS + 1)}, --steps at 1")
        held_out = Peeps(chosen.held_out)
        self.avatars = held_out.avatars[: chosen.count]
        self.data = Peeps(chosen.data) if chosen.data else None
        self.maker, self.device = Maker(chosen.model, device), device
        self.features, self.judge = Features(chosen.clip, device), Judge(chosen.judge, device)
        self.drawn = pictures(at_size(held_out.images[: chosen.count], self.maker.config.size))
        self.points = self.features.of(self.drawn)

    def made(self, is_stated: bool) -> Tensor:
        """As many as there are drawings, as a file would hold them."""
        stated = torch.from_numpy(vectors(self.avatars)).float()
        return pictures(pixels(self.maker.make(stated if is_stated else torch.zeros_like(stated))))

    def painted(self) -> Tensor:
        """Of the captions of the first drawings, at the GAN's size."""
        painter = Painter(self.chosen.diffusion, self.device)
        captions = [full_caption(each) for each in self.avatars[: self.chosen.painted]]
        return pictures(pixels(shrunk(painter.paint(captions, self.manner), self.maker.config.size)))

    def projected(self) -> tuple[Tensor, Tensor]:
        """Projections of the first drawings, and these."""
        drawn = self.drawn[: self.chosen.projected]
        projector = Projector(self.chosen.model)
        return torch.stack([projector.project(each) for each in drawn]), drawn

    def kept(self, made: Tensor) -> dict[str, float]:
        """Of the words that the first drawings are to show, the share that ``made`` shows in their place."""
        wanted = labels(self.avatars[: len(made)], self.judge.words)
        return {"attributes_shown": self.judge.verdict(made, wanted).share}

    def likeness(self, made: Points, real: Points) -> dict[str, float]:
        """Of two sets of features."""
        name, found, near = self.features.name, kid(made, real), coverage(made, real)
        return {
            f"kid@{name}": found.mean,
            f"kid_deviation@{name}": found.deviation,
            f"precision@{name}": near.precision,
            f"recall@{name}": near.recall,
        }

    def shown(self, made: Tensor, real: Tensor) -> dict[str, float]:
        """How many of the attributes' words are made at all."""
        return {"attribute_entropy": entropies(self.judge, self.judge.says(made), self.judge.says(real))}


def evaluate(subject: Subject) -> Findings:
    """All of it."""
    found = Findings()
    sets = {OPEN: subject.made(False), STATED: subject.made(True)}
    if subject.chosen.painted:
        sets[PAINTED] = subject.painted()
    for of, made in sets.items():
        real, n = subject.drawn[: len(made)], len(made)
        values = subject.likeness(subject.features.of(made), subject.points[:n])
        asked = {} if of == OPEN else subject.kept(made)
        found.add(of, f"{n} against {n}", values | subject.shown(made, real) | asked)
    size = subject.maker.config.size
    one, other = drawn_twice(subject.features, subject.points, subject.data, size)
    half = len(subject.drawn) // 2
    found.add(
        DRAWN,
        f"{len(one)} against {len(other)}",
        subject.likeness(one, other)
        | subject.shown(subject.drawn[:half], subject.drawn[half : 2 * half])
        | subject.kept(subject.drawn),
    )
    if subject.chosen.projected:
        made, drawn = subject.projected()
        near = {"psnr_db": decibels(made, drawn)} | subject.kept(made)
        found.add(PROJECTED, f"{len(made)} drawings", near)
        if subject.chosen.pairs:
            rows = zip(drawn.split(CONTACT_COLUMNS), made.split(CONTACT_COLUMNS), strict=True)
            sheet = torch.cat([each for pair in rows for each in pair])
            save_sheet(sheet, subject.chosen.pairs, columns=CONTACT_COLUMNS, enlarge=4)
    if subject.chosen.contact:
        save_sheet(sets[OPEN][:CONTACTS], subject.chosen.contact, columns=CONTACT_COLUMNS, enlarge=4)
    return found


def show(subject: Subject, found: Findings) -> None:
    """The table and the target."""
    report, columns = Report(), list(found.sizes)
    rows = [
        (name, *(f"{values[of]:.4f}" if of in values else "" for of in columns))
        for name, values in found.figures.items()
    ]
    report.table(
        f"{subject.maker.name} beside held-out drawings, {subject.maker.config.size} pixels a side",
        ("measure", *(each.replace("_", " ") for each in columns)),
        [("pictures", *found.sizes.values()), *rows],
    )
    counted = ", ".join(subject.judge.counted)
    report.say(f"attributes are {counted}; their entropy is a share of the drawings'")
    report.least("attribute entropy, nothing stated", found.figures["attribute_entropy"][OPEN], ENTROPY)
    report.summary()


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, (version, recipe) in SHIPPED.items():
        options.add_argument(
            f"--{name}", type=Path, default=MODELS / version, help=f"version of {recipe} (%(default)s)"
        )
    options.add_argument("--held-out", type=Path, default=HELD_OUT_FOLDER, help="drawings to compare with")
    options.add_argument("--data", type=Path, help="drawings that were learnt from")
    options.add_argument("--count", type=int, default=500, help="pictures made and drawn (%(default)s)")
    options.add_argument(
        "--painted", type=int, default=250, help="pictures of the diffusion; 0: none (%(default)s)"
    )
    options.add_argument(
        "--projected", type=int, default=48, help="drawings that are projected; 0: none (%(default)s)"
    )
    options.add_argument("--pairs", type=Path, help="file for drawings with their projections below")
    options.add_argument("--contact", type=Path, help="file for the first pictures made")
    options.add_argument("--json", type=Path, help="file to write the figures to")
    options.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    options.add_argument("--device", choices=NAMES, default="auto", help="(%(default)s)")
    add_flags(options, Manner())
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    options = parser()
    chosen = options.parse_args(arguments)
    needed = {name: each for name, each in SHIPPED.items() if name != "diffusion" or chosen.painted}
    missing = [
        f"{folder} is not there: recipe {recipe} makes it, and --{name} names another\n"
        for name, (_, recipe) in needed.items()
        if not ((folder := getattr(chosen, name)) / MANIFEST_NAME).is_file()
    ]
    if missing:
        options.exit(2, "".join(missing))
    try:
        subject = Subject(chosen)
        found = evaluate(subject)
    except (ValueError, OSError) as error:
        options.exit(2, f"{error}\n")
    show(subject, found)
    if chosen.json:
        facts = {"model": subject.maker.name, "sizes": found.sizes, **asdict(subject.manner)}
        chosen.json.write_text(json.dumps(facts | {"figures": found.figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
