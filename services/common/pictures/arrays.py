"""Pictures of bytes as the numbers that networks see, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.common.pictures.reading import Pixels

Array = npt.NDArray[np.float32]


def to_array(picture: Pixels) -> Array:
    """[height, width, 3] of bytes -> [3, height, width] from -1 to 1."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(painted: Array) -> Pixels:
    """The way back."""
    scaled = (np.clip(painted, -1, 1) + 1) * 127.5
    return np.ascontiguousarray(scaled.round().astype(np.uint8).transpose(1, 2, 0))
