"""The report as one PNG: charts above, a row of previews for each checkpoint below."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.report.told import Curve, Told

_CHART, _GAP, _LINE = (300, 140), 16, 14
_COLUMNS = 3
_SHOT = 96
_MOST_SHOTS, _MOST_ROWS = 9, 40
_WIDTH = _GAP + _COLUMNS * (_CHART[0] + _GAP)
_INK, _BLUE, _GREEN, _PALE = (34, 34, 34), (21, 101, 192), (46, 125, 50), (247, 247, 247)


def png(told: Told) -> bytes:
    """The file."""
    curves = told.curves()
    shown = [each for each in told.checkpoints if any(preview.file for preview in each.previews)]
    shown = shown[-_MOST_ROWS:]
    chart_rows = -(-len(curves) // _COLUMNS)
    top = _GAP + 3 * _LINE
    middle = top + chart_rows * (_CHART[1] + _LINE + _GAP)
    sheet = Image.new("RGB", (_WIDTH, middle + len(shown) * (_SHOT + _LINE + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    job = told.job
    draw.text((_GAP, _GAP), _plain(f"{job.spec.name} ({job.job_id}): {job.state.value}"), fill=_INK)
    draw.text((_GAP, _GAP + _LINE), _plain(f"{job.spec.recipe}, step {job.step}, {job.model}"), fill=_INK)
    for number, curve in enumerate(curves):
        row, column = divmod(number, _COLUMNS)
        x, y = _GAP + column * (_CHART[0] + _GAP), top + row * (_CHART[1] + _LINE + _GAP)
        _chart(draw, curve, x, y)
    for number, checkpoint in enumerate(shown):
        _row(sheet, draw, checkpoint, told, middle + number * (_SHOT + _LINE + _GAP))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _chart(draw: ImageDraw.ImageDraw, curve: Curve, x: int, y: int) -> None:
    width, height = _CHART
    left, right, low, high = curve.span
    draw.rectangle((x, y, x + width, y + height), fill=_PALE)
    places = [
        (
            x + (step - left) / (right - left) * width,
            y + height - (value - low) / (high - low) * height,
        )
        for step, value in curve.points
    ]
    if len(places) > 1:
        draw.line(places, fill=_BLUE, width=2)
    for (step, _), (px, py) in zip(curve.points, places, strict=True):
        if step == curve.best or len(places) == 1:
            draw.ellipse((px - 4, py - 4, px + 4, py + 4), fill=_GREEN)
    text = f"{curve.name}: {curve.points[-1][1]:.4g} ({low:.4g} to {high:.4g})"
    draw.text((x, y + height + 2), _plain(text), fill=_INK)


def _row(sheet: Image.Image, draw: ImageDraw.ImageDraw, checkpoint: Checkpoint, told: Told, top: int) -> None:
    rank = f", rank {checkpoint.rank}" if checkpoint.rank else ""
    best = ", the best" if checkpoint.best else ""
    draw.text((_GAP, top), f"step {checkpoint.step}{rank}{best}", fill=_INK)
    files = [each.file for each in checkpoint.previews if each.file][:_MOST_SHOTS]
    for number, file in enumerate(files):
        if data := told.read(file):
            with Image.open(io.BytesIO(data)) as picture:
                small = picture.convert("RGB").resize((_SHOT, _SHOT))
            sheet.paste(small, (_GAP + number * (_SHOT + 8), top + _LINE))


def _plain(text: str) -> str:
    """The built-in font has Latin letters only."""
    return text.encode("latin-1", "replace").decode("latin-1")
