"""Pictures as services read them: PNG, JPEG and WebP; masks; OpenAI's masks, which are made into others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from gateway.openai.images import white_where_open
from services.common.pictures.reading import Limits, read_picture
from services.diffusion.pictures.reading import read_mask
from services.finetune.datasets.checking.likeness import look_at
from tests.fuzz.pictures import every

REFUSALS = ()
WORDS = tuple(
    rb"""
        IHDR IDAT IEND PLTE tRNS acTL iCCP eXIf VP8X VP8L ALPH EXIF
    """.split()
)
_LIMITS = Limits(2048, 2_000_000)


def run(data: bytes) -> None:
    kind, file = data[:1], data[1:]
    if kind == b"m":
        read_mask("mask", file, (4, 4))
    elif kind == b"o":
        white_where_open(file)
    else:
        pixels = read_picture("image", file, _LIMITS)
        assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
        look_at(Image.fromarray(pixels))


def seeds() -> Iterable[bytes]:
    files = every()
    yield from (b"p" + file for file in files)
    yield from (b"m" + files[2], b"o" + files[1], b"o" + files[4])
