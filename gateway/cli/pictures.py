"""Picture files that commands read and write, and pictures as characters of a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.color import Color
from rich.style import Style
from rich.text import Text

from pequod.common.v1 import (
    IMAGE_FORMAT_JPEG,
    IMAGE_FORMAT_PNG,
    IMAGE_FORMAT_WEBP,
    Image,
    ImageFormat,
)

if TYPE_CHECKING:  # Pillow is loaded by the commands that draw
    from PIL.Image import Image as Drawing

FORMATS: Mapping[str, ImageFormat.ValueType] = {
    ".png": IMAGE_FORMAT_PNG,
    ".jpg": IMAGE_FORMAT_JPEG,
    ".jpeg": IMAGE_FORMAT_JPEG,
    ".webp": IMAGE_FORMAT_WEBP,
}
_NAMES = {IMAGE_FORMAT_PNG: "PNG", IMAGE_FORMAT_JPEG: "JPEG", IMAGE_FORMAT_WEBP: "WEBP"}
_HALF = "▀"
_GAP, _LINE, _SIDE = 4, 14, 96


@dataclass(frozen=True)
class Target:
    """Where pictures are written."""

    path: Path
    """May hold ``{seed}``, where the command's caller gave no name."""
    several: bool
    is_pattern: bool

    @classmethod
    def of(cls, path: Path | None, count: int = 1, usual: str = "") -> Target:
        """Checked before anything is asked for: a picture without a place is lost. Raises BadParameter."""
        chosen = Path(usual) if path is None else path
        if chosen.suffix.lower() not in FORMATS:
            raise typer.BadParameter(f"{chosen}: a name that ends in {', '.join(FORMATS)} is needed")
        if chosen.is_dir():
            raise typer.BadParameter(f"{chosen} is a folder")
        if not chosen.parent.is_dir():
            raise typer.BadParameter(f"{chosen} cannot be written: there is no folder {chosen.parent}")
        return cls(chosen, count > 1, path is None)

    @property
    def format(self) -> ImageFormat.ValueType:
        """As its name says."""
        return FORMATS[self.path.suffix.lower()]

    def write(self, data: bytes, number: int = 1, seed: int = 0) -> Path:
        """Write one picture, in place of a file of that name; returns where."""
        path = self.path
        if self.is_pattern:
            path = path.with_name(path.name.format(seed=seed))
        elif self.several:
            path = path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            path.write_bytes(data)
        except OSError as error:
            raise typer.BadParameter(f"{path} cannot be written: {error.strerror}") from None
        return path


def read_picture(path: Path | None) -> Image | None:
    """A file's bytes to send; the service says what is wrong with them. Raises BadParameter."""
    if path is None:
        return None
    try:
        return Image(data=path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None


def opened(data: bytes) -> Drawing:
    """A picture that the platform sent."""
    from PIL import Image as Pillow

    return Pillow.open(io.BytesIO(data)).convert("RGB")


def half_blocks(pictures: Sequence[Drawing], width: int, side: int = 48) -> Text:
    """Pictures side by side, two pixels a cell, as many as ``width`` cells have room for."""
    shown = [_fitted(each, min(side, width)) for each in pictures]
    while len(shown) > 1 and sum(each.width + 1 for each in shown) > width + 1:
        shown.pop()
    lines = [
        Text(" ").join(_line(each, top) for each in shown)
        for top in range(0, max((each.height for each in shown), default=0), 2)
    ]
    return Text("\n").join(lines)


def _fitted(picture: Drawing, side: int) -> Drawing:
    """Not larger than ``side``."""
    share = side / max(picture.size)
    if share >= 1:
        return picture
    return picture.resize((max(round(picture.width * share), 1), max(round(picture.height * share), 1)))


def _line(picture: Drawing, top: int) -> Text:
    """Two rows of pixels; blank below the picture."""
    if top >= picture.height:
        return Text(" " * picture.width)
    line = Text()
    for left in range(picture.width):
        upper = _colour(picture, left, top)
        lower = _colour(picture, left, top + 1) if top + 1 < picture.height else None
        line.append(_HALF, Style(color=upper, bgcolor=lower))
    return line


def _colour(picture: Drawing, left: int, top: int) -> Color:
    pixel = picture.getpixel((left, top))
    assert isinstance(pixel, tuple), "pictures are opened as RGB"
    return Color.from_rgb(*pixel)


def sheet(rows: Mapping[str, Sequence[bytes]], kind: ImageFormat.ValueType) -> bytes:
    """Rows of pictures with their names above them; empty bytes leave a place empty."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    pictures = {name: [opened(each) if each else None for each in row] for name, row in rows.items()}
    first = next(each for row in pictures.values() for each in row if each)
    times = max(round(_SIDE / max(first.size)), 1)
    width, height = first.width * times, first.height * times
    columns = max(map(len, pictures.values()))
    size = (columns * (width + _GAP) + _GAP, len(pictures) * (height + _LINE + _GAP) + _GAP)
    whole = Pillow.new("RGB", size, "white")
    drawing = ImageDraw.Draw(whole)
    for place, (name, row) in enumerate(pictures.items()):
        top = _GAP + place * (height + _LINE + _GAP)
        drawing.text((_GAP, top), name, fill="black")
        for column, each in enumerate(row):
            if each:
                larger = each.resize((width, height), Pillow.Resampling.NEAREST)
                whole.paste(larger, (_GAP + column * (width + _GAP), top + _LINE))
    file = io.BytesIO()
    whole.save(file, _NAMES[kind])
    return file.getvalue()
