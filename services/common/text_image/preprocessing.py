"""From pixels to what an image tower sees, as transformers' CLIPImageProcessor does it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.common.pictures.reading import Pixels

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where directories keep it: alone, or with the settings of all that makes inputs of a model."""

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_LONGEST_TO_CROP = 16
"""Lengths of a side that a crop keeps: what lies further out is cut off before a picture grows."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture gets the size and the range that a tower reads."""

    height: int
    """Of the tower."""
    width: int
    shortest: int | None
    """Pixels of the shorter side before the middle is cut out; None: stretched to the tower's size."""
    resample: Image.Resampling
    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def fit(self, picture: Pixels) -> Pixels:
        """The picture at the tower's size."""
        image = Image.fromarray(picture)
        if self.shortest is None:
            return np.asarray(image.resize((self.width, self.height), self.resample))
        short = min(image.size)
        image = _middle(image, *(min(side, _LONGEST_TO_CROP * short) for side in image.size))
        width, height = (int(self.shortest * side / short) for side in image.size)
        return np.asarray(_middle(image.resize((width, height), self.resample), self.width, self.height))

    def values(self, fitted: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """[n, 3, height, width]."""
        pixels = np.stack(fitted).astype(np.float32) * np.float32(self.factor)
        shifted = (pixels - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.ascontiguousarray(shifted.transpose(0, 3, 1, 2))


def read_preprocessing(folder: Path, size: int) -> Preprocessing:
    """What ``folder`` says for a tower of ``size`` pixels a side.

    Raises ValueError where there is nothing, for steps that are not known, and for another size.
    """
    settings = _settings(folder)
    height, width, shortest = _sizes(settings)
    if (height, width) != (size, size):
        raise ValueError(f"its pictures are made {width} x {height}, its tower sees {size} x {size}")
    rescales, normalises = settings.get("do_rescale", True), settings.get("do_normalize", True)
    return Preprocessing(
        height=height,
        width=width,
        shortest=shortest,
        resample=Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC)),
        factor=float(settings.get("rescale_factor", 1 / 255)) if rescales else 1.0,
        mean=_triple(settings.get("image_mean", _MEAN)) if normalises else (0.0, 0.0, 0.0),
        deviation=_triple(settings.get("image_std", _DEVIATION)) if normalises else (1.0, 1.0, 1.0),
    )


def _settings(folder: Path) -> Mapping[str, Any]:
    for name in FILES:
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
            settings = settings.get("image_processor", settings) if isinstance(settings, dict) else {}
            kind = str(settings.get("image_processor_type", settings.get("feature_extractor_type", "CLIP")))
            if not kind.startswith("CLIP"):
                raise ValueError(f"{name} asks for {kind}; CLIPImageProcessor is known")
            return dict(settings)
    raise ValueError(f"there is no {FILES[0]}")


def _sizes(settings: Mapping[str, Any]) -> tuple[int, int, int | None]:
    """Height, width, and the shorter side's length before a crop to them."""
    size = settings.get("size", {"shortest_edge": 224})
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = settings.get("crop_size", {"height": 224, "width": 224})
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    crops = settings.get("do_center_crop", True)
    if not settings.get("do_resize", True):
        raise ValueError("pictures of any size come in, and it resizes none")
    if set(size) == {"shortest_edge"} and crops:
        return int(crop["height"]), int(crop["width"]), int(size["shortest_edge"])
    if set(size) == {"height", "width"} and (not crops or dict(crop) == dict(size)):
        return int(size["height"]), int(size["width"]), None
    raise ValueError(f"size {size} with do_center_crop {crops} is not known")


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of an image, in black where it is smaller."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _triple(values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError(f"{list(values)} are not three colours' values")
    return tuple(map(float, values))
