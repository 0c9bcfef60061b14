"""Two detectors: what in a training's figures speaks for a vanishing gradient, what for a mode collapse.

Both are small state machines over plain numbers. They know no network, no data and no step of a training, so
the ring of Gaussians, the avatars and made-up figures are judged by the same lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from services.finetune.recipes.gan.pitfalls.alarm import Alarm, Patience, Ring

Measured = Mapping[str, float]
VANISHING, COLLAPSE = "vanishing_gradient", "mode_collapse"
_KINDS = ("modes", "attributes")


class Detector(Protocol):
    """Looks at figures, look after look."""

    alarm: Alarm

    def look(self, figures: Measured) -> Ring: ...

    def signs(self, figures: Measured) -> list[str]: ...

    def is_well(self, figures: Measured) -> bool: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class VanishingLimits:
    """The discriminator is always right, and what it teaches the generator is next to nothing."""

    accuracy: float = 0.98
    """Of the discriminator; where it errs more often, small gradients have other reasons."""
    overcome: float = 0.7
    """An alarm ends when it errs so often again: another loss mends the gradient, not the cause."""
    gradient: float = 0.05
    """Length of the generator's gradient, as a share of its median while nothing was wrong."""
    saturated: float = 0.9
    """Share of made examples at which the generator's loss is flat."""
    memory: int = 50
    """Looks that the median is taken over."""


class Vanishing:
    """Figures it needs: ``accuracy``, ``generator_gradient``, ``saturated``."""

    def __init__(self, patience: Patience, limits: VanishingLimits | None = None) -> None:
        self.alarm = Alarm(patience)
        self._limits = limits or VanishingLimits()
        self._usual: deque[float] = deque(maxlen=self._limits.memory)

    def look(self, figures: Measured) -> Ring:
        """The next look."""
        is_bad = bool(self.signs(figures))
        if not is_bad:  # gradients that have vanished must not become what is usual
            self._usual.append(figures["generator_gradient"])
        return self.alarm.hear(is_bad)

    def signs(self, figures: Measured) -> list[str]:
        """What speaks for it, by the names of figures."""
        limits = self._limits
        if self.alarm.is_ringing and figures["accuracy"] > limits.overcome:
            return ["accuracy"]
        if figures["accuracy"] <= limits.accuracy:
            return []
        usual = median(self._usual) if self._usual else 0.0
        found = {
            "generator_gradient": figures["generator_gradient"] < limits.gradient * usual,
            "saturated": figures["saturated"] > limits.saturated,
        }
        return [name for name, is_so in found.items() if is_so]

    def is_well(self, figures: Measured) -> bool:
        """Whether nothing speaks for it."""
        return not self.alarm.is_ringing and not self.signs(figures)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"alarm": self.alarm.state_dict(), "usual": list(self._usual)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.alarm.load_state_dict(state_dict["alarm"])
        self._usual = deque(state_dict["usual"], maxlen=self._limits.memory)


@dataclass(frozen=True)
class CollapseLimits:
    """What is made is all alike, or is only some of what there is."""

    least: Mapping[str, float] = field(
        default_factory=lambda: {"spread": 0.5, "modes": 0.4, "attributes": 0.5}
    )
    """Figures that are 1 where made examples vary as real ones do, and what they must not fall below."""
    most: Mapping[str, float] = field(default_factory=lambda: {"duplicates": 0.3})
    """Figures that are near 0 there, and what they must not pass."""
    clear: float = 1.4
    """So many times a limit is clear of it."""
    precision: float = 0.2
    """Share of examples that are like real ones, below which their kinds cannot be told."""


class Collapse:
    """Figures it looks at, those that there are: ``spread``, ``modes``, ``attributes``, ``duplicates``."""

    def __init__(self, patience: Patience, grace: int = 0, limits: CollapseLimits | None = None) -> None:
        """``grace``: looks at the beginning that nothing is said of, unless variety was seen already.

        A generator begins with one gray blur; that is no collapse, where it ends with one it is.
        """
        self.alarm = Alarm(patience)
        self._limits = limits or CollapseLimits()
        self._grace = grace

    def look(self, figures: Measured) -> Ring:
        """The next look."""
        is_bad = bool(self.signs(figures))
        self._grace = self._grace - 1 if is_bad and self._grace else 0
        return self.alarm.hear(is_bad and not self._grace)

    def signs(self, figures: Measured) -> list[str]:
        """What speaks for it, by the names of figures."""
        low = [name for name, least in self._least(figures).items() if figures.get(name, least) < least]
        high = [name for name, most in self._limits.most.items() if figures.get(name, most) > most]
        return low + high

    def is_well(self, figures: Measured) -> bool:
        """Whether variety is clear of the limits: a collapse comes by and by."""
        limits = self._limits
        is_varied = all(
            figures.get(name, 1.0) >= limits.clear * least for name, least in limits.least.items()
        )
        is_new = all(figures.get(name, 0.0) * limits.clear <= most for name, most in limits.most.items())
        return is_varied and is_new and not self.alarm.is_ringing

    def _least(self, figures: Measured) -> Measured:
        """The limits that hold: an example that is like nothing real is of no kind."""
        is_told = figures.get("precision", 1.0) >= self._limits.precision
        return {name: each for name, each in self._limits.least.items() if is_told or name not in _KINDS}

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"alarm": self.alarm.state_dict(), "grace": self._grace}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.alarm.load_state_dict(state_dict["alarm"])
        self._grace = state_dict["grace"]
