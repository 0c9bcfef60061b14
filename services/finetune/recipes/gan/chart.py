"""Draws the curves of a training by recipe train_gan, with what happened marked on them.

python -m services.finetune.recipes.gan.chart models/peeps-gan/1 -o curves.png

Takes a version, or the work folder of a training that still runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.common.store import MANIFEST_NAME
from services.finetune.recipes.gan.pitfalls.events import FILE, What

_CURVE = "curve.jsonl"
PANELS: Mapping[str, tuple[str, ...]] = {
    "loss": ("loss", "generator_loss"),
    "discriminator, share right": ("real_right", "made_right", "accuracy", "saturated"),
    "length of gradients": ("generator_gradient", "critic_gradient"),
    "variety beside real pictures": ("variety", "spread", "modes", "attributes", "duplicates"),
    "precision and recall": ("precision", "recall"),
    "kernel distance": ("kid",),
}
"""What is drawn together; a name also stands for ``name@`` what its features are of."""
_LOGARITHMIC = "length of gradients"
_COLORS = {
    What.ALARM: "tab:red",
    What.ACTION: "tab:orange",
    What.RECOVERED: "tab:green",
    What.HELPLESS: "black",
}
_PANEL_INCHES = (9.0, 2.2)


@dataclass(frozen=True)
class Course:
    """What is known of a training."""

    name: str
    curve: list[dict[str, float]]
    events: list[dict[str, Any]]


def read(folder: Path) -> Course:
    """A version or a work folder. Raises OSError or ValueError for a folder without a curve."""
    if (folder / MANIFEST_NAME).exists():
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        config = manifest["config"]
        curve, events = config.get("curve", []), config.get("events", [])
        name = f"{manifest['name']}:{manifest['version']}"
    else:
        curve, events, name = _lines(folder / _CURVE), [], folder.name
        if (folder / FILE).exists():
            events = _lines(folder / FILE)
    if not curve:
        raise ValueError(f"{folder} holds no curve of a training")
    return Course(name, list({point["step"]: point for point in curve}.values()), events)


def draw(course: Course) -> Figure:
    """A panel for each group of figures that there are any of."""
    panels = {title: drawn for title, names in PANELS.items() if (drawn := _series(course.curve, names))}
    figure = Figure(figsize=(_PANEL_INCHES[0], _PANEL_INCHES[1] * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, series) in zip(axes, panels.items(), strict=True):
        _panel(panel, title, series, course.events)
    axes[-1].set_xlabel("step")
    figure.suptitle(course.name)
    return figure


def _panel(
    panel: Axes, title: str, series: Mapping[str, Sequence[tuple[float, float]]], events: list[dict[str, Any]]
) -> None:
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        panel.plot(steps, values, label=name, linewidth=1.2, marker="." if len(points) < 3 else "")
    for event in events:
        panel.axvline(event["step"], color=_COLORS[What(event["what"])], linewidth=0.8, alpha=0.6)
    if title == _LOGARITHMIC:
        panel.set_yscale("log")
    panel.set_title(title, fontsize="medium", loc="left")
    panel.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    panel.grid(alpha=0.3)


def _series(
    curve: Sequence[Mapping[str, float]], names: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """(step, value) by the names that the curve has, in the order of ``names``."""
    known = dict.fromkeys(name for point in curve for name in point)
    chosen = [each for name in names for each in known if each == name or each.startswith(f"{name}@")]
    return {name: [(point["step"], point[name]) for point in curve if name in point] for name in chosen}


def _lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("folder", type=Path, help="a version, or the work folder of a training")
    options.add_argument("-o", "--out", type=Path, required=True, help="file to draw to: .png, .svg, .pdf")
    chosen = options.parse_args(arguments)
    try:
        draw(read(chosen.folder)).savefig(chosen.out, dpi=120)
    except (ValueError, OSError) as error:
        options.exit(2, f"chart: {error}\n")


if __name__ == "__main__":
    main()
