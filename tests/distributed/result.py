"""What a run found out: figures, and the rules that they must keep."""

from __future__ import annotations

from dataclasses import dataclass, field


class Unavailable(Exception):
    """What a run needs and this machine has not."""


@dataclass
class Result:
    """Figures by what they are, in the order they came; rules that were broken."""

    run: str
    figures: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def figure(self, what: str, value: object) -> None:
        """Note one; numbers as people read them."""
        self.figures[what] = f"{value:.3g}" if isinstance(value, float) else str(value)

    def rule(self, kept: bool, what: str) -> None:
        """``what`` must be so."""
        if not kept:
            self.broken.append(what)

    def __str__(self) -> str:
        width = max(map(len, self.figures), default=0)
        lines = [f"{self.run}: {'PASSED' if not self.broken else 'FAILED'}"]
        lines += [f"  {what:<{width}}  {value}" for what, value in self.figures.items()]
        lines += [f"  broken: {what}" for what in self.broken]
        return "\n".join(lines)
