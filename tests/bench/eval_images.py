"""Measures what peeps-diffusion paints of held-out captions; run as ``python -m tests.bench.eval_images``.

Sections, chosen with ``--only``: ``words`` is the share of a caption's attributes that its picture shows,
by the judge's word, over the attributes that it tells well; the same of other captions is the control, that
of the drawings the ceiling. ``likeness`` is the kernel distance of features, precision and recall, between
painted pictures and drawn ones; between drawn and drawn it is the floor. ``copies`` are the nearest
drawings that were learnt from, with a sheet of 16 to look at (needs ``--data``). ``upscaler`` is the gain
over bicubic. All but the last are at the model's own size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes.device import NAMES, Device
from services.finetune.recipes.diffusion.painter import Painter
from services.finetune.recipes.diffusion.painting import Manner
from services.finetune.recipes.judge.judging import Judge
from services.finetune.recipes.judge.vocabulary import labels
from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.measures.learnt import Learnt
from services.finetune.recipes.measures.sets import Points, coverage, kid
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.drawing import Pixels, at_size
from services.finetune.recipes.peeps.pictures import pictures, pixels, save_sheet
from services.finetune.recipes.train_upscaler import MEASURED, published, quality
from tests.bench.report import Report

CONTACTS = 24
SECTIONS = ("words", "likeness", "copies", "upscaler")
NEEDED = {
    "words": ("model", "judge"),
    "likeness": ("model", "clip"),
    "copies": ("model", "clip"),
    "upscaler": ("upscaler",),
}
MODELS = Path(__file__).parents[2] / "models"
SHIPPED = {
    "model": "peeps-diffusion/1",
    "judge": "peeps-judge/1",
    "clip": "peeps-clip/2",
    "upscaler": "peeps-upscaler/1",
}
RECIPES = {
    "model": "pretrain_diffusion",
    "judge": "train_judge",
    "clip": "pretrain_clip",
    "upscaler": "train_upscaler",
}
TARGETS = (
    ("shown", "named attributes shown", 0.85),
    ("upscaler_over_bicubic_32_to_64", "upscaler over bicubic, 32 to 64 pixels, dB", 3.0),
    ("upscaler_over_bicubic_64_to_128", "upscaler over bicubic, 64 to 128 pixels, dB", 3.0),
)
SHOWN = 16
NOTHING = float("nan")


@dataclass
class Findings:
    """What was found, as rows of a table and as figures by name."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, measure: str, name: str, painted: float, control: float, drawn: float, form: str) -> None:
        """One measure; NaN where there is nothing to say."""
        values = {name: painted, f"{name}_of_others": control, f"{name}_drawn": drawn}
        known = {each: float(value) for each, value in values.items() if not np.isnan(value)}
        self.figures |= known
        cells = [form.format(value) if each in known else "" for each, value in values.items()]
        self.rows.append((measure, *cells))


class Subject:
    """What is measured; it is painted when it is first looked at."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.device = Device(chosen.device, chosen.threads).torch
        self.held_out = Peeps(chosen.held_out)
        self.data = Peeps(chosen.data) if chosen.data else None
        self.avatars = self.held_out.avatars[: chosen.count]
        self.manner = read_flags(Manner, chosen)
        if self.manner.scheduler not in SCHEDULERS:
            raise ValueError(
                f"scheduler is {self.manner.scheduler!r}, one of {', '.join(SCHEDULERS)} is needed"
            )
        if chosen.count < 1 or self.manner.steps < 1:
            raise ValueError("--count and --steps begin at 1")

    @cached_property
    def painter(self) -> Painter:
        return Painter(self.chosen.model, self.device)

    @cached_property
    def features(self) -> Features:
        return Features(self.chosen.clip, self.device)

    @cached_property
    def painted(self) -> Tensor:
        """[count, 3, size, size], as a file would hold them."""
        made = self.painter.paint([full_caption(each) for each in self.avatars], self.manner)
        return pictures(pixels(made))

    @cached_property
    def drawn(self) -> Tensor:
        """The drawings of the same captions."""
        return self.sized(self.held_out.images[: len(self.avatars)])

    def sized(self, images: Pixels) -> Tensor:
        """Drawings at the model's size."""
        return pictures(at_size(images, self.painter.config.size))


def eval_words(subject: Subject, found: Findings) -> None:
    """Attributes that are shown."""
    judge = Judge(subject.chosen.judge, subject.device)
    wanted = labels(subject.avatars, judge.words)
    painted = judge.verdict(subject.painted, wanted)
    others = judge.verdict(subject.painted, np.roll(wanted, 1, axis=0))
    drawn = judge.verdict(subject.drawn, wanted)
    left_out = ", ".join(name for name in judge.words if name not in judge.counted)
    found.notes.append(
        f"attributes that count: {', '.join(judge.counted) or 'none'}; that do not: {left_out or 'none'}"
    )
    found.add("named attributes shown", "shown", painted.share, others.share, drawn.share, "{:.1%}")
    for name in judge.counted:
        shares = (each.shares[name] for each in (painted, others, drawn))
        found.add(f"  {name}", f"shown_{name}", *shares, "{:.1%}")


def eval_likeness(subject: Subject, found: Findings) -> None:
    """Distances between sets."""
    features = subject.features
    painted, drawn = features.of(subject.painted), features.of(subject.drawn)
    one, other = drawn_twice(features, drawn, subject.data, subject.painter.config.size)
    found.notes.append(
        f"drawn against drawn: {len(one)} against {len(other)}, painted: {len(painted)} against {len(drawn)}"
    )
    made, floor = kid(painted, drawn), kid(one, other)
    found.add(f"kid@{features.name}", f"kid@{features.name}", made.mean, NOTHING, floor.mean, "{:.4f}")
    found.add(
        "  deviation over subsets",
        f"kid_deviation@{features.name}",
        made.deviation,
        NOTHING,
        floor.deviation,
        "{:.4f}",
    )
    near, nearest = coverage(painted, drawn), coverage(one, other)
    found.add("precision", f"precision@{features.name}", near.precision, NOTHING, nearest.precision, "{:.3f}")
    found.add("recall", f"recall@{features.name}", near.recall, NOTHING, nearest.recall, "{:.3f}")


def drawn_twice(features: Features, drawn: Points, data: Peeps | None, size: int) -> tuple[Points, Points]:
    """Features of two sets of drawings: as many of ``data`` and ``drawn``, or the halves of ``drawn``."""
    if data is None:
        half = len(drawn) // 2
        return drawn[:half], drawn[half:]
    count = min(len(drawn), len(data))
    places = np.sort(np.random.default_rng(0).choice(len(data), count, replace=False))
    return features.of(pictures(at_size(data.images[places], size))), drawn


def eval_copies(subject: Subject, found: Findings) -> None:
    """Nearest drawings that were learnt from."""
    if subject.data is None:
        found.notes.append("copies: --data names the drawings that were learnt from, to look among")
        return
    learnt = Learnt(subject.data.images, subject.painter.config.size, subject.features)
    kinds = {"features": learnt.by_features, "pixels": learnt.by_pixels}
    sheet = [subject.painted[:SHOWN]]
    for kind, nearest in kinds.items():
        painted, drawn = nearest(subject.painted), nearest(subject.drawn)
        unit = " (rms of 0 .. 255)" if kind == "pixels" else ""
        for name, of in (("median", np.median), ("least", np.min)):
            title = f"nearest learnt drawing by {kind}{unit}, {name}"
            found.add(
                title, f"nearest_{kind}_{name}", of(painted.distances), NOTHING, of(drawn.distances), "{:.2f}"
            )
        sheet.append(learnt.at(painted.places[:SHOWN]))
    subject.chosen.sheet.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(torch.cat(sheet), subject.chosen.sheet, columns=len(sheet[0]))
    found.notes.append(f"{subject.chosen.sheet}: painted, nearest by features, nearest by pixels, a row each")


def eval_upscaler(subject: Subject, found: Findings) -> None:
    """Larger pictures."""
    large = pictures(subject.held_out.images[:MEASURED]).to(subject.device)
    for name, value in quality(published(subject.chosen.upscaler, subject.device), large).items():
        found.add(
            f"upscaler: {name.replace('_', ' ')}, dB", f"upscaler_{name}", value, NOTHING, NOTHING, "{:.2f}"
        )


EVALUATE = {"words": eval_words, "likeness": eval_likeness, "copies": eval_copies, "upscaler": eval_upscaler}


def show(subject: Subject, sections: Sequence[str], found: Findings) -> None:
    """The table, what it rests on, and the targets."""
    report, manner = Report(), subject.manner
    how = f"{manner.scheduler}, {manner.steps} steps, guidance {manner.guidance:g}"
    title = f"{len(subject.avatars)} held-out captions, {how}"
    if any("model" in NEEDED[section] for section in sections):
        title = f"{subject.painter.name}: {title}"
    report.table(title, ("measure", "painted", "of other captions", "drawn"), found.rows)
    for note in found.notes:
        report.say(note)
    for name, what, least in TARGETS:
        if name in found.figures:
            report.least(what, found.figures[name], least)
    report.summary()


def missing(chosen: argparse.Namespace) -> list[str]:
    """A sentence for each model that is asked for and is not there."""
    needed = sorted({name for section in chosen.only for name in NEEDED[section]})
    return [
        f"{folder} is not there: recipe {RECIPES[name]} makes it, and --{name} names another"
        for name in needed
        if not ((folder := getattr(chosen, name)) / MANIFEST_NAME).is_file()
    ]


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, recipe in RECIPES.items():
        folder = MODELS / SHIPPED[name]
        options.add_argument(
            f"--{name}", type=Path, default=folder, help=f"version of {recipe} (%(default)s)"
        )
    options.add_argument(
        "--held-out", type=Path, default=HELD_OUT_FOLDER, help="avatars to paint the captions of"
    )
    options.add_argument("--data", type=Path, help="avatars that were learnt from")
    options.add_argument("--count", type=int, default=500, help="captions (%(default)s)")
    options.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    options.add_argument("--sheet", type=Path, default=Path("var/eval/nearest.png"), help="(%(default)s)")
    options.add_argument("--contact", type=Path, help="file for the pictures of the first captions")
    options.add_argument("--json", type=Path, help="file to write the figures to")
    options.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    options.add_argument("--device", choices=NAMES, default="auto", help="(%(default)s)")
    add_flags(options, Manner())
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen sections."""
    options = parser()
    chosen = options.parse_args(arguments)
    if sentences := missing(chosen):
        options.exit(2, "".join(f"{each}\n" for each in sentences))
    found = Findings()
    try:
        subject = Subject(chosen)
        for section in chosen.only:
            EVALUATE[section](subject, found)
    except (ValueError, OSError) as error:
        options.exit(2, f"{error}\n")
    show(subject, chosen.only, found)
    if chosen.contact:
        save_sheet(subject.painted[:CONTACTS], chosen.contact, columns=8, enlarge=4)
    if chosen.json:
        model = subject.painter.name if "painter" in vars(subject) else ""
        facts = {"model": model, "captions": len(subject.avatars), **asdict(subject.manner)}
        chosen.json.write_text(
            json.dumps(facts | {"figures": found.figures, "notes": found.notes}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
