"""When a sign is an alarm: not at once, and not for ever. Knows nothing of GANs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Ring(StrEnum):
    """What an alarm says after a look."""

    NOTHING = "nothing"
    BEGINS = "begins"
    AGAIN = "again"
    """It has rung for a while, and nothing got better."""
    ENDS = "ends"


@dataclass(frozen=True)
class Patience:
    """Looks in a row until something happens."""

    begins: int = 3
    """Bad ones until it rings."""
    again: int = 6
    """Bad ones until it rings again: what was done meanwhile needs time to show."""
    ends: int = 5
    """Good ones until it ends: a good look may be luck."""


@dataclass
class Alarm:
    """Quiet, or ringing; between them it counts."""

    patience: Patience
    is_ringing: bool = False
    bad: int = 0
    good: int = 0
    """Looks of that kind in a row; a look of the other kind starts them anew."""

    def hear(self, is_bad: bool) -> Ring:
        """The next look."""
        self.bad, self.good = (self.bad + 1, 0) if is_bad else (0, self.good + 1)
        if not self.is_ringing and self.bad >= self.patience.begins:
            self.is_ringing, self.bad = True, 0
            return Ring.BEGINS
        if self.is_ringing and self.bad >= self.patience.again:
            self.bad = 0
            return Ring.AGAIN
        if self.is_ringing and self.good >= self.patience.ends:
            self.is_ringing = False
            return Ring.ENDS
        return Ring.NOTHING

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        state = asdict(self)
        del state["patience"]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        vars(self).update(state_dict)
