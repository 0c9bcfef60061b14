"""What benchmarks print: tables in Markdown, and targets."""

from __future__ import annotations

import sys
from collections.abc import Sequence


class Report:
    """Writes as it goes and remembers which targets were missed."""

    def __init__(self) -> None:
        self._met: list[bool] = []

    def say(self, line: str) -> None:
        """One line."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table under a title; numbers come as they are to be read."""
        cells = [[str(cell) for cell in row] for row in (header, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        self.say("\n".join([f"\n### {title}\n", lines[0], ruler, *lines[1:], ""]))

    def least(self, what: str, value: float, target: float) -> None:
        """A figure that should reach ``target``."""
        self._target(what, value, "at least", target, value >= target)

    def most(self, what: str, value: float, target: float) -> None:
        """A figure that should not pass ``target``."""
        self._target(what, value, "at most", target, value <= target)

    def summary(self) -> None:
        """How many targets were met."""
        self.say(f"\n{sum(self._met)} of {len(self._met)} targets met")

    def _target(self, what: str, value: float, word: str, target: float, met: bool) -> None:
        self._met.append(met)
        self.say(f"- {what}: {value:.4g}, target {word} {target:g}: {'met' if met else '**missed**'}")
