"""The bare engine: images a second by the rows of a call, ONNX Runtime beside PyTorch eager."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.bench.children import Nursery, Peer, rounds
from tests.bench.gan.model import CONFIGS, LARGE, STORE
from tests.bench.report import Report

OURS, EAGER = "ONNX Runtime", "PyTorch, eager"
ROWS = (1, 4, 8, 16)
RATE_TARGET, EAGER_TARGET = 120.0, 1.5
_IMAGES = 32
"""Of one model and number of rows, in each round."""


def bench_engine(
    nursery: Nursery, names: Sequence[str], threads: Sequence[int], count: int, report: Report
) -> None:
    """For each model and number of threads one table."""
    for name in names:
        for each in threads:
            _bench(nursery, name, each, count, report)


def _bench(nursery: Nursery, name: str, threads: int, count: int, report: Report) -> None:
    peers = [Peer(OURS, "gan_ours.py", (str(max(ROWS)),)), Peer(EAGER, "gan_torch.py")]
    with nursery.children(peers, STORE / name, threads) as children:
        for child in children:
            report.say(f"- {child.name}: {child.versions}")
            for rows in ROWS:
                groups = [list(range(begin, begin + rows)) for begin in range(0, _IMAGES, rows)]
                child.keep(str(rows), groups)
        measured = rounds(children, [str(rows) for _ in range(count) for rows in ROWS])
    medians = {
        each: [np.median(times[place :: len(ROWS)], axis=0) for place in range(len(ROWS))]
        for each, times in measured.items()
    }
    lines = []
    for place, rows in enumerate(ROWS):
        cells = [
            f"{_IMAGES / wall:.0f} ({cpu / _IMAGES * 1e3:.2f})"
            for wall, cpu in (medians[child.name][place] for child in children)
        ]
        lines.append((str(rows), *cells, *_ratio(medians, place)))
    size = CONFIGS[name].size
    report.table(
        f"{name}, {size} px, random weights, {threads} thread(s): images/s (CPU ms an image), "
        f"medians of {count} rounds",
        ("rows", *(child.name for child in children), "ratio (by CPU)"),
        lines,
    )
    if name == LARGE and len(medians) == 2:
        best = max(_IMAGES / wall for wall, _ in medians[OURS])
        if threads == 2:
            report.least(f"{size} px, two threads: images/s", best, RATE_TARGET)
        ratio = best / max(_IMAGES / wall for wall, _ in medians[EAGER])
        what = f"{size} px, {threads} thread(s): ONNX Runtime against eager, both at their best"
        report.least(what, ratio, EAGER_TARGET)


def _ratio(medians: dict[str, list[np.ndarray]], place: int) -> list[str]:
    if len(medians) < 2:
        return ["-"]
    wall, cpu = medians[EAGER][place] / medians[OURS][place]
    return [f"{wall:.2f} ({cpu:.2f})"]
