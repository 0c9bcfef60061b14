"""Draws the README's pictures of the page anew: ``python -m tests.clients.screenshots`` (needs Chromium)."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.clients.environment import programs
from tests.clients.page import HANDHELD, PHONE, TABS
from tests.e2e.conftest import started

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gateway/page/screenshots"
MOST_BYTES = 120_000
_GAP = 24
_ALL = (*TABS, PHONE)
_WAYS = ((1, 256), (1, 128), (1, 64), (0.75, 96), (0.75, 64), (0.6, 96), (0.6, 64), (0.5, 64))
"""Shares of the pixels' width, numbers of colours; the best first."""


def main() -> None:
    """Start a platform, or use the one at ``--url``; take pictures; write them small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the HTTP address of a platform that runs")
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(_ALL)}; default: all")
    given = parser.parse_args()
    names = given.names or _ALL
    if unknown := set(names) - set(_ALL):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        url = given.url or stack.enter_context(started(folder)).http
        _take(url, folder, names)
        FOLDER.mkdir(exist_ok=True)
        for each in names:
            if each == PHONE:
                _small(_phones(folder)).replace(FOLDER / f"{PHONE}.png")
                continue
            for path in folder.glob(f"{each}*.png"):  # long ones are in parts
                _small(Image.open(path)).replace(FOLDER / path.name)


def _take(url: str, folder: Path, names: Sequence[str]) -> None:
    command = [programs("playwright") / "python", "-m", "tests.clients.page.portraits", url, folder, *names]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(command, cwd=ROOT, env=clean, check=True)


def _small(image: Image.Image) -> Path:
    """A file of at most MOST_BYTES: of fewer colours, and where those would be too few, of fewer pixels."""
    made = FOLDER / "new.png"
    for share, colours in _WAYS:
        size = (round(image.width * share), round(image.height * share))
        smaller = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        smaller.quantize(colours, dither=Image.Dither.NONE).save(made, optimize=True)
        if made.stat().st_size <= MOST_BYTES:
            return made
    raise ValueError(f"{image.size} pixels take over {MOST_BYTES} bytes however few their colours")


def _phones(folder: Path) -> Image.Image:
    """Those of HANDHELD, side by side."""
    images = [Image.open(folder / f"{PHONE}-{name}.png") for name in HANDHELD]
    width = sum(each.width for each in images) + _GAP * (len(images) - 1)
    made = Image.new("RGB", (width, max(each.height for each in images)), "white")
    for i, each in enumerate(images):
        made.paste(each, (i * (each.width + _GAP), 0))
    return made


if __name__ == "__main__":
    main()
