"""How a training is watched."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.finetune.recipes.gan.names import OFF, ON
from services.finetune.recipes.gan.pitfalls.alarm import Patience


@dataclass(frozen=True)
class Manner:
    """How a training is watched."""

    every: int
    """Steps from one look to the next; figures of steps are means over them."""
    grace: int
    """Looks at the beginning in which little variety is no alarm."""
    counters: str = ON
    """``off`` notes alarms and does nothing about them."""
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if self.counters not in (ON, OFF):
            raise ValueError(f"counters is {self.counters!r}, one of {ON}, {OFF} is needed")
        if self.every < 1:
            raise ValueError(f"a look every {self.every} steps is none, 1 is the least")
