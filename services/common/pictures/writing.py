"""Writes pictures; a PNG holds what it was made with."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from PIL import Image, PngImagePlugin

from services.common.pictures.reading import Pixels

SETTINGS_KEY = "pequod"
"""The text chunk of a PNG that holds the settings as JSON."""


class Format(Enum):
    """Formats of files; the values are Pillow's names."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"


def write(pixels: Pixels, kind: Format, settings: Mapping[str, Any] | None = None) -> bytes:
    """The file. The same pixels and settings always give the same bytes."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind is Format.PNG:
        notes = PngImagePlugin.PngInfo()
        if settings:
            text = json.dumps(settings, ensure_ascii=False, sort_keys=True)
            notes.add_itxt(SETTINGS_KEY, text)
        image.save(file, "PNG", pnginfo=notes, compress_level=6)
    elif kind is Format.JPEG:
        image.save(file, "JPEG", quality=95, subsampling=0)
    else:
        image.save(file, "WEBP", lossless=True, method=2)
    return file.getvalue()
