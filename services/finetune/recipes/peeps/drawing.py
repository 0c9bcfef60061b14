"""Has avatars drawn by DiceBear, which runs on Node.js: pixels in, nothing kept."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.finetune.recipes.peeps.attributes import Avatar

Pixels = npt.NDArray[np.uint8]

_HERE = Path(__file__).parent
_FILES = ("package.json", "package-lock.json", "draw.mjs")
_AT_ONCE = 1000
_SHRUNK_AT_ONCE = 4000


def install(home: Path) -> Path:
    """Node packages and script in ``home``, fetched at first use. Raises OSError without npm or registry."""
    home.mkdir(parents=True, exist_ok=True)
    for file in _FILES:
        shutil.copyfile(_HERE / file, home / file)
    if not (home / "node_modules").exists():
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=home, capture_output=True, check=False
        )
        if done.returncode:
            raise OSError(f"npm cannot fetch the drawings: {done.stderr.decode(errors='replace').strip()}")
    return home


def draw(avatars: Sequence[Avatar], size: int, home: Path) -> Iterator[Pixels]:
    """[size, size, 3] of each avatar, in order. Raises OSError with what Node says when it fails."""
    waiting = iter(avatars)
    while part := list(islice(waiting, _AT_ONCE)):
        lines = "".join(
            f"{json.dumps({'style': each.style, 'options': dict(each.options)})}\n" for each in part
        )
        done = subprocess.run(
            ["node", "draw.mjs", str(size)], cwd=home, input=lines.encode(), capture_output=True, check=False
        )
        if done.returncode:
            raise OSError(f"node cannot draw: {done.stderr.decode(errors='replace').strip()}")
        yield from np.frombuffer(done.stdout, np.uint8).reshape(len(part), size, size, 3)


def shrink(pixels: Pixels, size: int) -> Pixels:
    """[n, size, size, 3]: means of squares. ``size`` divides the pictures'."""
    n, large = pixels.shape[:2]
    factor = large // size
    squares = pixels.reshape(n, size, factor, size, factor, 3).astype(np.uint32)
    means: Pixels = ((squares.sum(axis=(2, 4)) + factor**2 // 2) // factor**2).astype(np.uint8)
    return means


def at_size(pixels: Pixels, size: int) -> Pixels:
    """The same of many pictures, some at a time."""
    if pixels.shape[1] == size:
        return pixels
    parts = range(0, len(pixels), _SHRUNK_AT_ONCE)
    return np.concatenate([shrink(pixels[begin : begin + _SHRUNK_AT_ONCE], size) for begin in parts])
