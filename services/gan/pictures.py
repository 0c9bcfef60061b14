"""Pictures in and out: at a model's size, side by side, moving; how far two are apart."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

import numpy as np
from PIL import Image

from services.common.pictures.reading import Pixels


class Moving(Enum):
    """Formats of moving pictures; the values are Pillow's names."""

    WEBP = "WEBP"
    GIF = "GIF"


def fitted(picture: Pixels, size: int) -> Pixels:
    """[size, size, 3], as the networks learnt pictures: smaller ones are means, larger ones bilinear."""
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    shrinks = min(height, width) >= size
    way = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.ascontiguousarray(np.asarray(Image.fromarray(picture).resize((size, size), way)))


def grid(pictures: Sequence[Pixels]) -> tuple[Pixels, int]:
    """All in one, row by row, as square as may be, white where there is none; and its columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width, _ = pictures[0].shape
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        whole[top : top + height, left : left + width] = picture
    return whole, columns


def animation(frames: Sequence[Pixels], kind: Moving, per_second: int) -> bytes:
    """A moving picture that begins anew at its end. The same frames always give the same bytes."""
    file = io.BytesIO()
    first, *rest = map(Image.fromarray, frames)
    # Files hold whole milliseconds, GIF whole hundredths: frames begin at the nearest, so no error adds up.
    unit = 10 if kind is Moving.GIF else 1
    begins = [unit * round(1000 / unit * place / per_second) for place in range(len(frames) + 1)]
    durations = [end - begin for begin, end in pairwise(begins)]
    options = {"lossless": True, "method": 2} if kind is Moving.WEBP else {"disposal": 1}
    first.save(file, kind.value, save_all=True, append_images=rest, duration=durations, loop=0, **options)
    return file.getvalue()


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio, dB; infinite for equal pictures."""
    error = np.square(one.astype(np.float64) - other.astype(np.float64)).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
