"""Measures personal fine-tunes of peeps-diffusion; run as ``python -m tests.bench.eval_finetune``.

Five persons are learnt from eight views each, by recipe dreambooth with its defaults. Then pictures are made
of "sks person" in surroundings that no score saw, and each is given to the person with the nearest held-out
view in features of peeps-clip: a share of 0.2 is chance. Beside it the base model, asked the same, and asked
in words that describe the person; the drift of the class; and the seconds of all but the bare steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from services.common.store import Kind
from services.finetune.recipes import dreambooth
from services.finetune.recipes.base import open_base
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.offering import Offers
from services.finetune.recipes.candidates.publishing import publish_best
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.diffusion.painter import Painter
from services.finetune.recipes.diffusion.painting import Manner
from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.peeps.pictures import save_sheet
from services.finetune.recipes.personal.photos import Subject
from services.finetune.recipes.personal.scores.scoring import DRIFT
from services.finetune.recipes.watching import Alone
from tests.bench.finetune.persons import FOLDER, Person, Recognition, read
from tests.bench.report import Report

MODELS = Path(__file__).parents[2] / "models"
SURROUNDINGS = (
    "",
    "green background",
    "yellow background",
    "purple shirt",
    "black shirt and pink background",
    "white background",
    "orange shirt, gray background",
    "blue shirt and teal background",
)
FIRST_SEED = 500
OWN, OVERHEAD, SECONDS = 0.8, 0.25, 180.0


@dataclass
class Found:
    """Of each person."""

    own: list[float] = field(default_factory=list)
    """Share of its pictures that are nearest to it."""
    told: list[float] = field(default_factory=list)
    """The same of the base model's, asked in words."""
    asked: list[float] = field(default_factory=list)
    """The same of the base model's, asked by name."""
    drift: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """From pictures to a published adapter."""
    overhead: list[float] = field(default_factory=list)
    """Candidates, previews and scores, as a share of the bare steps."""


class Evaluation:
    """The models and the persons."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        """Raises ValueError or OSError for what cannot be measured."""
        self.options = read_flags(Options, chosen)
        self.manner = Manner(steps=chosen.picture_steps)
        self._device = Device(self.options.device, self.options.threads).torch
        self._base, self._each = chosen.base, chosen.each
        self._start = open_base(chosen.base, "", Kind.DIFFUSION)
        self.people, drawn = read(chosen.persons, chosen.count)
        self._painter = Painter(chosen.base, self._device)
        features = Features(Path(self.options.clip), self._device)
        self._recognition = Recognition(drawn, chosen.count, self._painter.config.size, features)
        self.sheet: list[Tensor] = []

    def measure(self, work: Path) -> Found:
        """All persons, one after the other."""
        found = Found()
        asked = self._who(self._painter, "sks person")
        for number, person in enumerate(self.people):
            started = time.perf_counter()
            out, share = self._tuned(person, work / f"{number}")
            found.seconds.append(time.perf_counter() - started)
            found.overhead.append(share)
            manifest = json.loads((out / "model.json").read_text())
            found.drift.append(manifest["metrics"]["drift"])
            found.step.append(manifest["metrics"]["step"])
            found.own.append(_share(self._who(Painter(self._base, self._device, out), "sks person"), number))
            found.told.append(_share(self._who(self._painter, person.told()), number))
            found.asked.append(_share(asked, number))
        return found

    def _tuned(self, person: Person, work: Path) -> tuple[Path, float]:
        """(folder of the adapter, overhead over the bare steps)."""
        personal = dreambooth.Personal(Subject.of(person.photos), self._start, work, self.options, Alone())
        started = time.perf_counter()
        personal.train(Offers(work, Alone()))
        seconds = time.perf_counter() - started
        publish_best(Candidates(work), work / "store/person/1", {}, [])
        return work / "store/person/1", seconds / personal.course.seconds - 1

    def _who(self, painter: Painter, name: str) -> list[int]:
        prompts = [", ".join(filter(None, (name, each))) for each in SURROUNDINGS] * self._each
        seeds = range(FIRST_SEED, FIRST_SEED + len(prompts))
        painted = painter.paint(prompts, self.manner, seeds)
        self.sheet.append(painted[: len(SURROUNDINGS)])
        return self._recognition.who(painted)


def _share(who: Sequence[int], number: int) -> float:
    return sum(each == number for each in who) / len(who)


def show(found: Found) -> None:
    """The table and the targets."""
    report = Report()
    rows = [
        (
            f"{number + 1}",
            f"{found.own[number]:.2f}",
            f"{found.asked[number]:.2f}",
            f"{found.told[number]:.2f}",
            f"{found.drift[number]:.3f}",
            f"{found.step[number]:.0f}",
            f"{found.seconds[number]:.0f}",
            f"{100 * found.overhead[number]:.0f} %",
        )
        for number in range(len(found.own))
    ]
    header = ("person", "own", "base, same", "base, in words", "drift", "best step", "seconds", "overhead")
    report.table("pictures nearest to their own person's held-out views", header, rows)
    report.least("share of all persons' pictures", sum(found.own) / len(found.own), OWN)
    report.say(f"- of the base model's: {sum(found.asked) / len(found.asked):.2f}")
    report.say(f"- of the base model's, told in words: {sum(found.told) / len(found.told):.2f}")
    report.most("largest drift", max(found.drift), DRIFT)
    report.most("longest fine-tune, seconds", max(found.seconds), SECONDS)
    report.most("mean overhead", sum(found.overhead) / len(found.overhead), OVERHEAD)
    report.summary()


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--base", type=Path, default=MODELS / "peeps-diffusion/1", help="(%(default)s)")
    options.add_argument("--persons", type=Path, default=FOLDER, help="views of persons (%(default)s)")
    options.add_argument("--count", type=int, default=5, help="persons (%(default)s)")
    options.add_argument("--each", type=int, default=4, help="pictures in each surroundings (%(default)s)")
    options.add_argument("--picture-steps", type=int, default=12, help="of each picture (%(default)s)")
    options.add_argument("--contact", type=Path, help="file for the first pictures made")
    options.add_argument("--json", type=Path, help="file to write the figures to")
    add_flags(options, Options(clip=str(MODELS / "peeps-clip/2")))
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    options = parser()
    chosen = options.parse_args(arguments)
    try:
        evaluation = Evaluation(chosen)
        with tempfile.TemporaryDirectory() as work:
            found = evaluation.measure(Path(work))
    except (ValueError, OSError) as error:
        options.exit(2, f"{error}\n")
    show(found)
    if chosen.contact:
        save_sheet(torch.cat(evaluation.sheet), chosen.contact, columns=len(SURROUNDINGS), enlarge=3)
    if chosen.json:
        chosen.json.write_text(json.dumps(vars(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
