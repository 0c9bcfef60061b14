"""Small pictures to begin from."""

from __future__ import annotations

import io

from PIL import Image


def encoded(kind: str, mode: str = "RGB", side: int = 4, **options: object) -> bytes:
    """A picture of ``side`` x ``side`` pixels in one of Pillow's formats."""
    file = io.BytesIO()
    picture = Image.new("RGB", (side, side), (200, 30, 60))
    picture.putpixel((1, 2), (0, 0, 0))
    picture.convert(mode).save(file, kind, **options)
    return file.getvalue()


def png() -> bytes:
    return encoded("PNG")


def every() -> list[bytes]:
    """Of each format and kind of colour that is read, and some that are not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(encoded("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        *(encoded("JPEG", mode, 16) for mode in ("RGB", "L", "CMYK")),
        encoded("JPEG", side=16, exif=exif),
        encoded("JPEG", side=16, progressive=True),
        *(encoded("WEBP", mode, 8) for mode in ("RGB", "RGBA")),
        encoded("WEBP", side=8, lossless=True),
        encoded("GIF"),
        _animated("GIF"),
        _animated("WEBP"),
        _animated("PNG"),
    ]


def _animated(kind: str) -> bytes:
    file = io.BytesIO()
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    first.save(file, kind, save_all=True, append_images=[second], duration=40)
    return file.getvalue()
