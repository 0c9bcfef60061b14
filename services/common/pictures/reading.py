"""Reads pictures that callers send: checked before they are decoded, and again while they are."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from services.common.errors import ServiceError, invalid

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3] of RGB."""

MOST_BYTES = 16 * 2**20
MOST_SIDE = 8192
MOST_PIXELS = 32_000_000
_FORMATS = ("PNG", "JPEG", "WEBP")
_NAMED = ("GIF",)
"""Not read, but known when seen; no other decoder of the library gets to see a caller's bytes."""
_SEVERAL_IN_ONE = "MPO"
"""JPEG with more pictures behind it, as many cameras write it: the first one is the photograph."""
_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True)
class Limits:
    """How large a picture may be."""

    side: int = MOST_SIDE
    pixels: int = MOST_PIXELS


def read_picture(field: str, data: bytes, limits: Limits | None = None) -> Pixels:
    """[height, width, 3] of RGB; what is transparent becomes white, turned as its camera says.

    Raises INVALID_ARGUMENT naming ``field``: no PNG, JPEG or WebP, animated, CMYK, cut short, too large.
    """
    picture = open_picture(field, data, limits)
    if picture.mode in {"LA", "RGBA"} or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))


def open_picture(field: str, data: bytes, limits: Limits | None = None) -> Image.Image:
    """The picture decoded and turned, in its file's colours of 8 bits each. Raises as ``read_picture``."""
    limits = limits or Limits()
    if not data:
        raise invalid(field, "holds no bytes")
    if len(data) > MOST_BYTES:
        raise invalid(field, f"has {len(data)} bytes, at most {MOST_BYTES} (16 MiB)")
    try:
        picture = Image.open(io.BytesIO(data), formats=(*_FORMATS, *_NAMED))
        _check(field, picture, limits)
        picture.load()
        return _eight_bits(_turned(picture))
    except ServiceError:
        raise
    except UnidentifiedImageError:
        raise invalid(field, f"is no {', '.join(_FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise invalid(field, f"has more than {limits.pixels:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise invalid(field, f"cannot be read to its end: {error}") from None


def _check(field: str, picture: Image.Image, limits: Limits) -> None:
    """By what its header says, before any pixel is decoded."""
    if picture.format not in {*_FORMATS, _SEVERAL_IN_ONE}:
        raise invalid(field, f"is {picture.format}; {', '.join(_FORMATS)} are read")
    if picture.format != _SEVERAL_IN_ONE and getattr(picture, "n_frames", 1) > 1:
        raise invalid(field, "is animated; one picture is needed")
    if picture.mode not in _MODES:
        raise invalid(field, f"has colours of mode {picture.mode}; RGB and gray are read")
    if max(picture.size) > limits.side:
        raise invalid(field, f"is {picture.width} x {picture.height} pixels, at most {limits.side} a side")
    if picture.width * picture.height > limits.pixels:
        raise invalid(field, f"has {picture.width * picture.height:,} pixels, at most {limits.pixels:,}")


def _turned(picture: Image.Image) -> Image.Image:
    """As its camera says; notes of a camera that cannot be read say nothing."""
    try:
        turned: Image.Image = ImageOps.exif_transpose(picture)
    except Exception:  # Pillow lets through whatever broken notes lead to
        return picture
    return turned


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Gray of 16 bits by its high ones: Pillow would make white of all but the darkest."""
    if picture.mode != "I;16":
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
