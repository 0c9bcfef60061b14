"""The report as one HTML file that needs no other."""

from __future__ import annotations

import base64
from html import escape

from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.report.told import Curve, Told

_WIDTH, _HEIGHT, _EDGE = 360, 150, 8
_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; color: #222; }
h1 { font-size: 20px; } h2 { font-size: 16px; margin-top: 2em; }
table { border-collapse: collapse; }
td, th { padding: 3px 10px; text-align: left; border-top: 1px solid #ddd; }
.charts { display: flex; flex-wrap: wrap; gap: 20px; } figure { margin: 0; } figcaption { font-size: 12px; }
svg { background: #f7f7f7; } .best { background: #e8f5e9; } .veto { color: #999; }
.shots { display: flex; flex-wrap: wrap; gap: 8px; } .shots img { height: 128px; image-rendering: pixelated; }
.shots figcaption { max-width: 128px; } pre { white-space: pre-wrap; max-width: 60em; }
"""


def html(told: Told) -> bytes:
    """The file."""
    job = told.job
    title = escape(f"{job.spec.name} ({job.job_id})")
    charts = "".join(map(_chart, told.curves()))
    shots = "".join(_shots(each, told) for each in told.checkpoints if each.previews)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{_facts(told)}"
        f"<h2>Figures and scores by step</h2><div class='charts'>{charts or 'None yet.'}</div>"
        f"<h2>Checkpoints</h2>{_table(told)}{shots and '<h2>Previews</h2>' + shots}</body></html>\n"
    ).encode()


def _facts(told: Told) -> str:
    job = told.job
    facts = [
        ("state", job.state.value + (f": {job.error.message}" if job.error else "")),
        ("recipe", f"{job.spec.recipe} {job.spec.preset}".strip()),
        ("base", job.base_version),
        ("data set", f"{job.spec.dataset_id} {job.dataset_digest[:12]}".strip()),
        ("steps", f"{job.step} of {job.spec.steps}" if job.spec.steps else ""),
        ("seed", f"{job.spec.seed}"),
        ("published", job.model),
    ]
    rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in facts if value)
    return f"<table>{rows}</table>"


def _chart(curve: Curve) -> str:
    """A line, its ends in numbers, and the best checkpoint as a dot."""
    left, right, low, high = curve.span

    def place(step: float, value: float) -> tuple[float, float]:
        x = _EDGE + (step - left) / (right - left) * (_WIDTH - 2 * _EDGE)
        y = _HEIGHT - _EDGE - (value - low) / (high - low) * (_HEIGHT - 2 * _EDGE)
        return round(x, 1), round(y, 1)

    line = " ".join(f"{x},{y}" for x, y in (place(*point) for point in curve.points))
    dots = "".join(
        "<circle cx='{}' cy='{}' r='{}' fill='#2e7d32'/>".format(*place(*point), 5)
        for point in curve.points
        if point[0] == curve.best
    )
    last = curve.points[-1][1]
    caption = f"{escape(curve.name)}: {last:.4g} at step {curve.points[-1][0]:g} ({low:.4g} to {high:.4g})"
    return (
        f"<figure><svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='{escape(curve.name)}'>"
        f"<polyline points='{line}' fill='none' stroke='#1565c0' stroke-width='1.5'/>{dots}</svg>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(told: Told) -> str:
    if not told.checkpoints:
        return "<p>None yet.</p>"
    names = sorted({score.name for each in told.checkpoints for score in each.scores})
    head = "".join(f"<th>{escape(name)}</th>" for name in ("step", "rank", *names, ""))
    rows = "".join(_row(each, names) for each in told.checkpoints)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _row(checkpoint: Checkpoint, names: list[str]) -> str:
    values = {score.name: score.value for score in checkpoint.scores}
    cells = [f"{values[name]:.4g}" if name in values else "" for name in names]
    marks = [("best", checkpoint.best), ("published", checkpoint.promoted)]
    notes = ", ".join([*(word for word, holds in marks if holds), *filter(None, [checkpoint.veto_reason])])
    kind = "best" if checkpoint.best else "veto" if checkpoint.veto_reason else ""
    parts = [f"{checkpoint.step}", f"{checkpoint.rank or '-'}", *cells, notes]
    return f"<tr class='{kind}'>" + "".join(f"<td>{escape(part)}</td>" for part in parts) + "</tr>"


def _shots(checkpoint: Checkpoint, told: Told) -> str:
    shown = []
    for each in checkpoint.previews:
        caption = f"<figcaption>{escape(each.prompt)}</figcaption>"
        if each.file and (data := told.read(each.file)):
            picture = base64.b64encode(data).decode()
            shown.append(f"<figure><img src='data:image/png;base64,{picture}' alt=''>{caption}</figure>")
        elif each.text:
            shown.append(f"<figure><pre>{escape(each.text)}</pre>{caption}</figure>")
    rank = f", rank {checkpoint.rank}" if checkpoint.rank else ""
    return f"<h3>Step {checkpoint.step}{rank}</h3><div class='shots'>{''.join(shown)}</div>"
