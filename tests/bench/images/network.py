"""Calls of the shipped network: ONNX Runtime beside PyTorch, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.bench.children import Nursery, Peer, rounds
from tests.bench.report import Report

OURS = "ONNX Runtime"
EAGER = Peer("PyTorch, eager", "images_torch.py", ("eager",))
ROWS = (1, 2, 4, 8)
TARGET = 1.3

_CALLS = 3
"""In a row, of each round: the first one finds the caches as the other left them."""


def ours(folder: Path) -> Peer:
    """The graph that set-up exported of a version in the shipped store."""
    graph = next(folder.parents[1].glob(f"exports/*/onnx/{folder.parent.name}-unet.onnx"))
    return Peer(OURS, "images_ours.py", (str(graph),))


def bench_network(nursery: Nursery, folder: Path, threads: Sequence[int], count: int, report: Report) -> None:
    """Milliseconds of a call, by its rows."""
    for each in threads:
        with nursery.children([ours(folder), EAGER], folder, each) as children:
            if each == threads[0]:
                for child in children:
                    report.say(f"- {child.name}: {child.versions}")
            taken: dict[int, dict[str, np.ndarray]] = {}
            for rows in ROWS:
                for child in children:
                    child.keep(str(rows), [[float(100 + 50 * row) for row in range(rows)]] * _CALLS)
            measured = rounds(children, [str(rows) for _ in range(count) for rows in ROWS])
            for place, rows in enumerate(ROWS):
                taken[rows] = {
                    name: np.median(times[place :: len(ROWS)], axis=0) / _CALLS
                    for name, times in measured.items()
                }
            _show(taken, each, count, report)


def _show(taken: dict[int, dict[str, np.ndarray]], threads: int, count: int, report: Report) -> None:
    lines = []
    for rows, by_name in taken.items():
        cells = [f"{wall * 1e3:.1f} ({cpu * 1e3:.1f})" for wall, cpu in by_name.values()]
        if len(by_name) == 2:
            cells.append("{:.2f} ({:.2f})".format(*(by_name[EAGER.name] / by_name[OURS])))
        lines.append((str(rows), *cells))
    names = list(next(iter(taken.values())))
    report.table(
        f"A call of the network, {threads} thread(s), ms and (CPU ms), medians of {count} rounds",
        ("rows", *names, "ratio (by CPU)"),
        lines,
    )
    if len(names) == 2:
        wall, cpu = taken[1][EAGER.name] / taken[1][OURS]
        report.least(
            f"one row, {threads} thread(s): ONNX Runtime against eager ({cpu:.2f} by CPU time)", wall, TARGET
        )
