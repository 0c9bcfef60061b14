"""What callers send beside pictures, and pictures at the size that a model paints."""

from __future__ import annotations

import numpy as np
from PIL import Image

from services.common.errors import invalid
from services.common.pictures.reading import Limits, Pixels, open_picture, read_picture
from services.diffusion.schedulers.levels import Array

__all__ = ["Limits", "read_mask", "read_picture", "resized", "resized_mask"]


def read_mask(field: str, data: bytes, size: tuple[int, int]) -> Array:
    """[1, height, width] from 0 to 1. Raises INVALID_ARGUMENT for another ``size`` (width, height) too."""
    mask = open_picture(field, data)
    if mask.size != size:
        raise invalid(field, f"is {mask.width} x {mask.height} pixels, init_image is {size[0]} x {size[1]}")
    return np.asarray(mask.convert("L"), np.float32)[None] / np.float32(255)


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture at a size."""
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(image))


def resized_mask(mask: Array, width: int, height: int) -> Array:
    """The mask at a size. Where any of a place's pixels is to be painted anew, the place is."""
    if mask.shape[1:] == (height, width):
        return mask
    image = Image.fromarray(mask[0]).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, np.float32)[None]
