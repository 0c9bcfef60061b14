"""Avatars as a data set has them: a picture each, and lines of JSON that say what is to be seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import AVATARS, HELD_OUT_FOLDER, IMAGES, Peeps
from services.finetune.recipes.task import Task

LINES = "captions.jsonl"


@dataclass(frozen=True)
class Sets:
    """Avatars to learn from, and to measure on."""

    learnt: Peeps
    held_out: Peeps

    @classmethod
    def of(cls, task: Task) -> Sets:
        """A task's. Raises ValueError where the data set holds no avatars."""
        assert task.data is not None
        learnt = read(task.data, task.work / "avatars")
        if task.validation is None:
            return cls(learnt, Peeps(HELD_OUT_FOLDER))
        return cls(learnt, read(task.validation, task.work / "held_out"))


def write(peeps: Peeps, out: Path) -> None:
    """Avatars as a data set: pictures, captions, attributes."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LINES).open("w") as lines:
        for number, (pixels, avatar) in enumerate(zip(peeps.images, peeps.avatars, strict=True)):
            name = f"{number:06d}.png"
            Image.fromarray(pixels).save(out / name)
            told = {"file": name, "caption": full_caption(avatar), "style": avatar.style}
            lines.write(json.dumps({**told, "attributes": dict(avatar.attributes)}) + "\n")


def read(folder: Path, home: Path) -> Peeps:
    """Of a data set; kept in ``home`` as recipes read them. Raises ValueError for one that holds others."""
    if not (home / AVATARS).exists():
        found = list(_avatars(folder))
        if not found:
            raise ValueError(
                f"the data set names no avatars: its {LINES} must say file, style and attributes of each; "
                "recipe draw_peeps makes such pictures with --pictures"
            )
        home.mkdir(parents=True, exist_ok=True)
        _keep([file for file, _ in found], home / IMAGES)
        partial = home / f"{AVATARS}.partial"
        shown = ({"style": each.style, "attributes": dict(each.attributes)} for _, each in found)
        partial.write_text("".join(f"{json.dumps(each)}\n" for each in shown))
        partial.replace(home / AVATARS)
    return Peeps(home)


def _avatars(folder: Path) -> Iterator[tuple[Path, Avatar]]:
    """Pictures that the lines tell the attributes of."""
    for lines in sorted(folder.rglob(LINES)):
        for line in lines.read_text().splitlines():
            told: Any = json.loads(line) if line.strip() else {}
            if not isinstance(told, dict) or not isinstance(told.get("attributes"), dict):
                continue
            file = lines.parent / str(told.get("file", ""))
            if file.is_file():  # others were left out of the data set, and named in its report
                yield file, Avatar(str(told.get("style", "")), told["attributes"])


def _keep(files: list[Path], target: Path) -> None:
    """All pictures in one array [n, size, size, 3]. Raises ValueError for different sizes."""
    with Image.open(files[0]) as first:
        size = first.size
    if size[0] != size[1]:
        raise ValueError(f"{files[0].name} has {size[0]} x {size[1]} pixels; avatars are squares")
    shape = (len(files), size[1], size[0], 3)
    images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    for place, file in enumerate(files):
        with Image.open(file) as picture:
            if picture.size != size:
                raise ValueError(
                    f"{file.name} has {picture.size[0]} x {picture.size[1]} pixels, not {size[0]}"
                )
            images[place] = np.asarray(picture.convert("RGB"))
    images.flush()
