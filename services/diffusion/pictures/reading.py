"""Reads pictures that callers send: checked before they are decoded, and again while they are."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from services.common.errors import ServiceError, invalid
from services.diffusion.engine import Pixels
from services.diffusion.schedulers.levels import Array

MOST_BYTES = 16 * 2**20
MOST_SIDE = 8192
MOST_PIXELS = 32_000_000
_FORMATS = ("PNG", "JPEG", "WEBP")
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
    picture = _opened(field, data, limits or Limits())
    if picture.mode in {"LA", "P", "RGBA"}:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))


def read_mask(field: str, data: bytes, size: tuple[int, int]) -> Array:
    """[1, height, width] from 0 to 1. Raises INVALID_ARGUMENT for another ``size`` (width, height) too."""
    mask = _opened(field, data, Limits())
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


def _opened(field: str, data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise invalid(field, "holds no bytes")
    if len(data) > MOST_BYTES:
        raise invalid(field, f"has {len(data)} bytes, at most {MOST_BYTES} (16 MiB)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
        _check(field, picture, limits)
        picture.load()
        turned: Image.Image = ImageOps.exif_transpose(picture)
        return turned
    except ServiceError:
        raise
    except UnidentifiedImageError:
        raise invalid(field, f"is no {', '.join(_FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise invalid(field, f"has more than {limits.pixels:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise invalid(field, f"cannot be read to its end: {error}") from None


def _check(field: str, picture: Image.Image, limits: Limits) -> None:
    """By what its header says, before any pixel is decoded."""
    if picture.format not in _FORMATS:
        raise invalid(field, f"is {picture.format}; {', '.join(_FORMATS)} are read")
    if getattr(picture, "n_frames", 1) > 1:
        raise invalid(field, "is animated; one picture is needed")
    if picture.mode not in _MODES:
        raise invalid(field, f"has colours of mode {picture.mode}; RGB and gray are read")
    if max(picture.size) > limits.side:
        raise invalid(field, f"is {picture.width} x {picture.height} pixels, at most {limits.side} a side")
    if picture.width * picture.height > limits.pixels:
        raise invalid(field, f"has {picture.width * picture.height:,} pixels, at most {limits.pixels:,}")
