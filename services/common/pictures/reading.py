"""Reads pictures that callers send: checked before they are decoded, and again while they are."""

from __future__ import annotations

import enum
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
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
_NAMED = ("GIF",)
"""Not read, but known when seen; no other decoder of the library gets to see a caller's bytes."""
_SEVERAL_IN_ONE = "MPO"
"""JPEG with more pictures behind it, as many cameras write it: the first one is the photograph."""
_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class Fault(enum.Enum):
    """Why a picture is refused."""

    FORMAT = "format"
    SIZE = "size"
    DAMAGED = "damaged"


class PictureRefused(ServiceError):
    """INVALID_ARGUMENT for a picture, with what is wrong in a word and in a sentence."""

    def __init__(self, field: str, fault: Fault, description: str) -> None:
        refusal = invalid(field, description)
        super().__init__(refusal.code, refusal.reason, refusal.message, refusal.violations)
        self.fault = fault
        self.description = description


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
        raise PictureRefused(field, Fault.DAMAGED, "holds no bytes")
    if len(data) > MOST_BYTES:
        raise PictureRefused(field, Fault.SIZE, f"has {len(data)} bytes, at most {MOST_BYTES} (16 MiB)")
    try:
        picture = Image.open(io.BytesIO(data), formats=(*_FORMATS, *_NAMED))
        _check(field, picture, limits)
        picture.load()
        return _eight_bits(_turned(picture))
    except ServiceError:
        raise
    except UnidentifiedImageError:
        fault = Fault.DAMAGED if format_of(data) else Fault.FORMAT
        raise PictureRefused(field, fault, f"is no {', '.join(_FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureRefused(field, Fault.SIZE, f"has more than {limits.pixels:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise PictureRefused(field, Fault.DAMAGED, f"cannot be read to its end: {error}") from None


def format_of(data: bytes) -> str:
    """ "png", "jpeg" or "webp" by how a file begins; "" for any other."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for begin, name in _SIGNATURES.items() if data.startswith(begin)), "")


def _check(field: str, picture: Image.Image, limits: Limits) -> None:
    """By what its header says, before any pixel is decoded."""
    if picture.format not in {*_FORMATS, _SEVERAL_IN_ONE}:
        raise PictureRefused(field, Fault.FORMAT, f"is {picture.format}; {', '.join(_FORMATS)} are read")
    if picture.format != _SEVERAL_IN_ONE and getattr(picture, "n_frames", 1) > 1:
        raise PictureRefused(field, Fault.FORMAT, "is animated; one picture is needed")
    if picture.mode not in _MODES:
        raise PictureRefused(
            field, Fault.FORMAT, f"has colours of mode {picture.mode}; RGB and gray are read"
        )
    if max(picture.size) > limits.side:
        raise PictureRefused(
            field, Fault.SIZE, f"is {picture.width} x {picture.height} pixels, at most {limits.side} a side"
        )
    if picture.width * picture.height > limits.pixels:
        raise PictureRefused(
            field, Fault.SIZE, f"has {picture.width * picture.height:,} pixels, at most {limits.pixels:,}"
        )


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
