"""Draws the README's pictures of the page anew: ``python -m tests.clients.screenshots`` (needs Chromium)."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from tests.clients.environment import programs
from tests.clients.page import HANDHELD, TABS
from tests.e2e.conftest import started

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gateway/page/screenshots"
MOST_BYTES = 120_000
_GAP = 24


def main() -> None:
    """Start a platform, or use the one at ``--url``; take pictures; write them small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the HTTP address of a platform that runs")
    url = parser.parse_args().url
    with tempfile.TemporaryDirectory() as folder:
        if url:
            _take(url, Path(folder))
        else:
            with started(Path(folder)) as platform:
                _take(platform.http, Path(folder))
        FOLDER.mkdir(exist_ok=True)
        for name in TABS:
            _small(Image.open(Path(folder) / f"{name}.png")).replace(FOLDER / f"{name}.png")
        beside = _beside([Image.open(Path(folder) / f"phone-{name}.png") for name in HANDHELD])
        _small(beside).replace(FOLDER / "phone.png")


def _take(url: str, folder: Path) -> None:
    command = [programs("playwright") / "python", "-m", "tests.clients.page.portraits", url, folder]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(command, cwd=ROOT, env=clean, check=True)


def _small(image: Image.Image) -> Path:
    """A file with as many colours as fit into MOST_BYTES."""
    made = FOLDER / "new.png"
    for colours in (256, 128, 64, 32, 16):
        image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(made, optimize=True)
        if made.stat().st_size <= MOST_BYTES:
            return made
    raise ValueError(f"{image.size} pixels take over {MOST_BYTES} bytes in 16 colours too")


def _beside(images: list[Image.Image]) -> Image.Image:
    width = sum(each.width for each in images) + _GAP * (len(images) - 1)
    made = Image.new("RGB", (width, max(each.height for each in images)), "white")
    at = 0
    for each in images:
        made.paste(each, (at, 0))
        at += each.width + _GAP
    return made


if __name__ == "__main__":
    main()
