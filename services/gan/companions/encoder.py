"""``encoder.safetensors``: a first guess of the style whose image a picture is, linear in its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from services.common.pictures.arrays import Array

FILE = "encoder.safetensors"
SIDE = 16
"""Pixels of a side that it looks at."""


def seen(pictures: Array) -> Array:
    """[n, 3, size, size] -> [n, 3 * 16 * 16]: means of squares. ``size`` is a multiple of 16."""
    count, channels, size, _ = pictures.shape
    squares = pictures.reshape(count, channels, SIDE, size // SIDE, SIDE, size // SIDE)
    return np.ascontiguousarray(squares.mean(axis=(3, 5)).reshape(count, -1), np.float32)


def write(folder: Path, weights: Array, offset: Array) -> None:
    """Write the file: ``seen`` @ weights [pixels, width] + offset [width], in 16 bits."""
    halves = {"weights": weights.astype(np.float16), "offset": offset.astype(np.float16)}
    save_file(halves, folder / FILE)


def read(folder: Path, width: int) -> Callable[[Array], Array] | None:
    """[3, size, size] -> [width], where ``folder`` has one. Raises ValueError where it does not fit."""
    if not (folder / FILE).is_file():
        return None
    tensors = {name: each.astype(np.float32) for name, each in load_file(folder / FILE).items()}
    weights, offset = tensors["weights"], tensors["offset"]
    if (weights.shape, offset.shape) != ((3 * SIDE**2, width), (width,)):
        raise ValueError(f"{FILE} is of {list(weights.shape)} and {list(offset.shape)}, styles have {width}")

    def guess(picture: Array) -> Array:
        return np.asarray(seen(picture[None])[0] @ weights + offset, np.float32)

    return guess
