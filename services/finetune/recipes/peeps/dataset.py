"""Drawn avatars on disk: pixels in one array, what they show in lines of JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from services.finetune.recipes.peeps.attributes import Avatar, random_avatar
from services.finetune.recipes.peeps.captions import caption
from services.finetune.recipes.peeps.drawing import Pixels, at_size, draw, shrink

IMAGES, ATLAS, AVATARS = "images.npy", "avatars.webp", "avatars.jsonl"
HELD_OUT_FOLDER = Path(__file__).parent / "held_out"
"""The avatars that no recipe learns from, drawn already, so that measuring needs no Node.js."""
DRAWN = 128
"""Pixels of a side that avatars are drawn at; smaller ones are means of these."""
TRAINING_DATA = (
    "avatars drawn by @dicebear/collection 9.4.3 (designs Open Peeps by Pablo Stanley and Pixel "
    "Art by DiceBear, CC0 1.0), with captions made from the drawing options"
)
HELD_OUT_SEED, HELD_OUT = 0, 500
_COLUMNS = 25
"""Pictures side by side in an atlas."""


class Peeps:
    """A folder of avatars."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where there is none."""
        lines = (folder / AVATARS).read_text().splitlines()
        self.avatars = [Avatar(**json.loads(line)) for line in lines]
        is_atlas = (folder / ATLAS).exists()
        self.images: Pixels = (
            read_atlas(folder / ATLAS, len(self)) if is_atlas else np.load(folder / IMAGES, mmap_mode="c")
        )

    def __len__(self) -> int:
        return len(self.avatars)

    def at(self, size: int) -> Pixels:
        """[n, size, size, 3]; ``size`` divides that of the images."""
        return at_size(self.images, size)

    def captions(self, places: Sequence[int], chance: np.random.Generator) -> list[str]:
        """A caption of each, another one every time."""
        return [caption(self.avatars[place], chance) for place in places]


def avatars(count: int, seed: int) -> Iterator[Avatar]:
    """``count`` avatars that ``seed`` decides, none of them one of the held-out ones."""
    kept_back = set() if seed == HELD_OUT_SEED else set(map(_key, avatars(HELD_OUT, HELD_OUT_SEED)))
    chance = np.random.default_rng(seed)
    while count:
        avatar = random_avatar(chance)
        if _key(avatar) not in kept_back:
            yield avatar
            count -= 1


def make(chosen: Sequence[Avatar], size: int, home: Path, out: Path) -> None:
    """Draw a folder of avatars. Raises OSError where they cannot be drawn."""
    out.mkdir(parents=True, exist_ok=True)
    shape = (len(chosen), size, size, 3)
    images = np.lib.format.open_memmap(out / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
    for place, pixels in enumerate(draw(chosen, DRAWN, home)):
        images[place] = shrink(pixels[None], size)[0]
    images.flush()
    (out / AVATARS).write_text("".join(f"{json.dumps(asdict(each))}\n" for each in chosen))


def pack(folder: Path) -> None:
    """Turn a folder's array into one lossless picture, which is far smaller; leave out how it was drawn."""
    peeps = Peeps(folder)
    rows, rest = divmod(len(peeps), _COLUMNS)
    if rest:
        raise ValueError(f"an atlas has {_COLUMNS} pictures a row; {len(peeps)} fill no whole rows")
    size = peeps.images.shape[1]
    sheet = peeps.images.reshape(rows, _COLUMNS, size, size, 3).transpose(0, 2, 1, 3, 4)
    picture = Image.fromarray(sheet.reshape(rows * size, _COLUMNS * size, 3))
    picture.save(folder / ATLAS, lossless=True, quality=100, method=6)
    shown = [{"style": each.style, "attributes": dict(each.attributes)} for each in peeps.avatars]
    (folder / AVATARS).write_text("".join(f"{json.dumps(each)}\n" for each in shown))
    (folder / IMAGES).unlink()


def read_atlas(file: Path, count: int) -> Pixels:
    """[count, size, size, 3] of what ``pack`` wrote."""
    with Image.open(file) as picture:
        sheet = np.asarray(picture.convert("RGB"))
    size = sheet.shape[1] // _COLUMNS
    tiles = sheet.reshape(count // _COLUMNS, size, _COLUMNS, size, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(tiles.reshape(count, size, size, 3))


def _key(avatar: Avatar) -> str:
    return json.dumps(asdict(avatar), sort_keys=True)
