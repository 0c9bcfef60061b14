"""Charts over time as SVG, coloured by the page's style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 920, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 26
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

Points = Sequence[tuple[float, float]]
"""(second, value); a value that is no number breaks the line."""


@dataclass(frozen=True)
class Mark:
    """A moment on the time axis: a phase that begins, or something that was done."""

    at: float
    text: str
    kind: str
    """phase or event"""


@dataclass(frozen=True)
class _Scale:
    """From values to places."""

    seconds: float
    most: float
    least: float = 0.0
    log: bool = False

    def x(self, at: float) -> float:
        return LEFT + _PLOT_WIDTH * min(max(at / self.seconds, 0.0), 1.0)

    def y(self, value: float) -> float:
        if self.log:
            value = max(value, self.least)
            share = math.log(value / self.least) / math.log(self.most / self.least)
        else:
            share = value / self.most
        return TOP + _PLOT_HEIGHT * (1 - min(max(share, 0.0), 1.0))


def lines(
    title: str, series: Mapping[str, Points], seconds: float, marks: Sequence[Mark], *, log: bool = False
) -> str:
    """One line a series."""
    values = [value for points in series.values() for _, value in points if math.isfinite(value)]
    scale = _scale(values, seconds, log)
    drawn = [_line(points, scale, f"line s{number}") for number, points in enumerate(series.values())]
    return _chart(title, list(series), scale, marks, drawn)


def stacks(
    title: str,
    names: Sequence[str],
    columns: Sequence[Sequence[float]],
    seconds: float,
    marks: Sequence[Mark],
) -> str:
    """Columns side by side over ``seconds``, of parts called ``names``."""
    scale = _scale([sum(column) for column in columns], seconds, log=False)
    step = seconds / max(len(columns), 1)
    width = max(_PLOT_WIDTH * step / seconds - 0.6, 0.5)
    drawn = []
    for at, column in enumerate(columns):
        below = 0.0
        for number, value in enumerate(column):
            if value:
                top, height = scale.y(below + value), scale.y(below) - scale.y(below + value)
                drawn.append(
                    f'<rect class="bar {names[number]}" x="{scale.x(at * step):.1f}" y="{top:.1f}" '
                    f'width="{width:.1f}" height="{height:.1f}"/>'
                )
            below += value
    return _chart(title, names, scale, marks, drawn, swatches=names)


def _scale(values: Sequence[float], seconds: float, log: bool) -> _Scale:
    most = max(values, default=0.0) or 1.0
    if not log:
        return _Scale(max(seconds, 1.0), _above(most))
    positive = [value for value in values if value > 0]
    least = 10 ** math.floor(math.log10(min(positive, default=0.1)))
    return _Scale(max(seconds, 1.0), max(10 ** math.ceil(math.log10(most)), 10 * least), least, log=True)


def _above(value: float) -> float:
    """The next round number: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= value * 0.999)


def _line(points: Points, scale: _Scale, names: str) -> str:
    parts: list[list[str]] = [[]]
    for at, value in points:
        if math.isfinite(value):
            parts[-1].append(f"{scale.x(at):.1f},{scale.y(value):.1f}")
        elif parts[-1]:
            parts.append([])
    dots = [
        f'<circle class="dot {names}" cx="{x}" cy="{y}" r="1.6"/>'
        for part in parts
        if len(part) == 1
        for x, y in [part[0].split(",")]
    ]
    runs = [f'<polyline class="{names}" points="{" ".join(part)}"/>' for part in parts if len(part) > 1]
    return "".join(runs + dots)


def _chart(
    title: str,
    names: Sequence[str],
    scale: _Scale,
    marks: Iterable[Mark],
    drawn: Iterable[str],
    swatches: Sequence[str] = (),
) -> str:
    kinds = swatches or [f"s{number}" for number in range(len(names))]
    legend = "".join(
        f'<span><i class="swatch {kind}"></i>{html.escape(name)}</span>'
        for name, kind in zip(names, kinds, strict=True)
    )
    return (
        f"<figure><figcaption>{html.escape(title)}<span class=legend>{legend}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f"{_axes(scale)}{''.join(_mark(mark, scale) for mark in marks)}{''.join(drawn)}</svg></figure>"
    )


def _axes(scale: _Scale) -> str:
    drawn = []
    for value in _ticks(scale):
        y = scale.y(value)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{value:g}</text>')
    step = _above(scale.seconds / 8)
    count = int(scale.seconds / step + 1e-9)
    for number in range(count + 1):
        at = number * step
        drawn.append(f'<text class="tick mid" x="{scale.x(at):.1f}" y="{HEIGHT - 8}">{at:g} s</text>')
    return "".join(drawn)


def _ticks(scale: _Scale) -> list[float]:
    if not scale.log:
        return [scale.most * part / 4 for part in range(5)]
    powers = round(math.log10(scale.most / scale.least))
    return [scale.least * 10**power for power in range(powers + 1)]


def _mark(mark: Mark, scale: _Scale) -> str:
    x, y = scale.x(mark.at), TOP + (10 if mark.kind == "phase" else 22)
    return (
        f'<line class="mark {mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{x + 3:.1f}" y="{y}">{html.escape(mark.text)}</text>'
    )
