"""A subject's pictures: read from files of any size, brought to the square that a model sees."""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from services.common.errors import ServiceError
from services.common.pictures.reading import Pixels, read_picture
from services.finetune.datasets.checking.lines import CAPTION_FILES, BadLine, caption_of, lines_of
from services.finetune.datasets.checking.pictures import LEAST_SIDE
from services.finetune.recipes.peeps.pictures import pictures

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
HOLDS_OUT_FROM = 5
"""With so many pictures the last one is kept to measure on."""


@dataclass(frozen=True)
class Photo:
    """A picture with its captions, of which there may be none."""

    name: str
    pixels: Pixels
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What is learnt, and what is measured on."""

    learnt: Sequence[Photo]
    held_out: Sequence[Photo]
    """Of few pictures the learnt ones themselves, which are then measured under other noise."""
    about: str = ""
    """What the pictures are, in a sentence; "": how many there are."""

    @classmethod
    def of(cls, photos: Sequence[Photo], others: Sequence[Photo] = (), about: str = "") -> Subject:
        """``others`` are of the same subject, to measure on. Raises ValueError for none to learn."""
        if not photos:
            raise ValueError("there is no picture to learn from; at least one PNG, JPEG or WebP is needed")
        if others:
            return cls(photos, others, about)
        few = len(photos) < HOLDS_OUT_FROM
        return cls(photos, photos, about) if few else cls(photos[:-1], photos[-1:], about)

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels and captions, in order."""
        told = hashlib.sha256()
        for photo in (*self.learnt, *self.held_out):
            told.update(str((photo.pixels.shape, photo.captions)).encode())
            told.update(photo.pixels.tobytes())
        return told.hexdigest()


def read_folder(folder: Path, warn: Callable[[str], None]) -> list[Photo]:
    """The pictures below a folder, by path, with their captions.

    A caption lies beside its picture in a text file of its name, or in a line of captions.jsonl. What cannot
    be used is left out, and ``warn`` told why. Raises ValueError where nothing is left.
    """
    files = sorted(filter(Path.is_file, folder.rglob("*"))) if folder.is_dir() else [folder]
    wanted = [file for file in files if file.suffix.lower() in SUFFIXES]
    captions = _captions(files)
    found = [photo for file in wanted if (photo := _read(file, captions[file], warn)) is not None]
    if not found:
        why = f"none of {len(wanted)} can be used" if wanted else "no PNG, JPEG or WebP is in it"
        raise ValueError(f"{folder} holds no picture to learn from: {why}")
    return found


def fitted(photos: Sequence[Photo], size: int) -> Tensor:
    """[n, 3, size, size] from -1 to 1: the middle square of each."""
    return pictures(np.stack([_square(photo.pixels, size) for photo in photos]))


def mirrored(clean: Tensor, share: float, drawn: Sequence[float]) -> Tensor:
    """Pictures [n, channels, height, width], those whose number drawn is below ``share`` turned about."""
    turned = torch.tensor([each < share for each in drawn], device=clean.device)
    return torch.where(turned[:, None, None, None], clean.flip(-1), clean)


def _captions(files: Sequence[Path]) -> defaultdict[Path, list[str]]:
    """By the picture's path."""
    found: defaultdict[Path, list[str]] = defaultdict(list)
    texts = {file.with_suffix(""): file for file in files if file.suffix == ".txt"}
    for file in files:
        if file.name in CAPTION_FILES:
            for _, line in lines_of(file):
                with contextlib.suppress(BadLine):  # named in the data set's report
                    name, caption = caption_of(line)
                    found[file.parent / name].append(caption)
        elif file.suffix != ".txt" and (beside := texts.get(file.with_suffix(""))):
            found[file].append(beside.read_text(encoding="utf-8").strip())
    return found


def _read(file: Path, captions: Sequence[str], warn: Callable[[str], None]) -> Photo | None:
    try:
        pixels = read_picture(file.name, file.read_bytes())
    except ServiceError as error:
        warn(f"left out: {error}")
        return None
    height, width = pixels.shape[:2]
    if min(height, width) < LEAST_SIDE:
        warn(f"left out: {file.name} is {width} x {height} pixels, at least {LEAST_SIDE} a side")
        return None
    return Photo(file.name, pixels, tuple(filter(None, captions)))


def _square(pixels: Pixels, size: int) -> Pixels:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(pixels[top : top + side, left : left + side])
    # Means of what falls on a pixel: drawings keep their edges, and no ringing comes in.
    way = Image.Resampling.BOX if side >= size else Image.Resampling.BICUBIC
    return np.asarray(middle.resize((size, size), way))
