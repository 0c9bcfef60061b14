"""What a run found out: figures, the rules that must be kept, the limits of time that hold where nobody else
keeps the machine busy."""

from __future__ import annotations

from dataclasses import dataclass, field


class Unavailable(Exception):
    """What a run needs and this machine has not."""


@dataclass
class Result:
    """Figures by what they are, in the order they came; rules that were broken, limits that were not kept."""

    run: str
    figures: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def figure(self, what: str, value: object) -> None:
        """Note one; numbers as people read them."""
        self.figures[what] = f"{value:.3g}" if isinstance(value, float) else str(value)

    def rule(self, kept: bool, what: str) -> None:
        """``what`` must be so."""
        if not kept:
            self.broken.append(what)

    def limit(self, seconds: float, most: float, what: str) -> None:
        """A figure of ``seconds`` that may not be beyond ``most``. Tests assert no times: they show it."""
        self.figure(what, seconds)
        if seconds > most:
            self.late.append(f"{what}: {seconds:.3g}, {most:.3g} are promised")

    @property
    def passed(self) -> bool:
        """Every rule and every limit was kept."""
        return not self.broken and not self.late

    def __str__(self) -> str:
        width = max(map(len, self.figures), default=0)
        lines = [f"{self.run}: {'PASSED' if self.passed else 'FAILED'}"]
        lines += [f"  {what:<{width}}  {value}" for what, value in self.figures.items()]
        lines += [f"  broken: {what}" for what in self.broken]
        lines += [f"  too late: {what}" for what in self.late]
        return "\n".join(lines)
