"""Watches a training: figures to both detectors, alarms to the ladders of counters, all of it to the journal.

The training asks how its next step is to be done (``regime``), notes what the step found (``note``) and lets
the watch have a look after it (``after``). A training without alarms is the same to the bit as one unwatched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from services.finetune.recipes.gan.names import OFF, ON
from services.finetune.recipes.gan.pitfalls.alarm import Ring
from services.finetune.recipes.gan.pitfalls.counters import LADDERS, Counter, climb
from services.finetune.recipes.gan.pitfalls.detectors import (
    COLLAPSE,
    VANISHING,
    Collapse,
    Detector,
    Vanishing,
)
from services.finetune.recipes.gan.pitfalls.events import FILE, Event, Journal, What
from services.finetune.recipes.gan.pitfalls.manner import Manner
from services.finetune.recipes.gan.pitfalls.regime import Regime
from services.finetune.recipes.gan.pitfalls.snapshot import Snapshot
from services.finetune.recipes.gan.sight import Figures
from services.finetune.recipes.resumable import Stateful

__all__ = ["OFF", "ON", "Manner", "Watch"]


class Watch:
    """The watch over one training."""

    def __init__(self, base: Regime, manner: Manner, parts: Mapping[str, Stateful], work: Path) -> None:
        """``parts``: what a roll back takes back. ``work``: the folder of the journal."""
        self._base, self._manner = base, manner
        self._detectors: dict[str, Detector] = {
            VANISHING: Vanishing(manner.patience),
            COLLAPSE: Collapse(manner.patience, manner.grace),
        }
        self._climbed: list[tuple[str, int]] = []
        """Pitfall and rung of every counter that was applied, in order."""
        self._figures = Figures()
        self._healthy = Snapshot(parts)
        self.journal = Journal(work / FILE)
        self.regime = base

    def begin(self, step: int) -> None:
        """Before the first step, and after a checkpoint was loaded."""
        if self._healthy.is_empty:
            self._healthy.keep(step)
            self.journal.begin()

    def note(self, figures: Mapping[str, Tensor]) -> None:
        """What a step found."""
        self._figures.note(figures)

    def after(self, step: int, variety: Callable[[], Mapping[str, float]]) -> None:
        """After ``step`` steps. ``variety`` says how varied what is made is; it is asked when it is time."""
        if step % self._manner.every:
            return
        figures = {**self._figures.read(), **variety()}
        for pitfall in self._detectors:
            self._look(pitfall, figures, step)
        if all(each.is_well(figures) for each in self._detectors.values()):
            self._healthy.keep(step)

    def _look(self, pitfall: str, figures: Mapping[str, float], step: int) -> None:
        if pitfall == COLLAPSE and self._detectors[VANISHING].alarm.is_ringing:
            return  # a generator that is taught nothing is not varied either; the cause comes first
        detector = self._detectors[pitfall]
        signs = detector.signs(figures)
        ring = detector.look(figures)
        rounded = {name: round(value, 5) for name, value in figures.items()}
        event = partial(Event, step, pitfall, signs=signs, figures=rounded)
        if ring is Ring.BEGINS:
            self.journal.write(event(What.ALARM))
        if ring is Ring.ENDS:
            self.journal.write(event(What.RECOVERED))
        if ring in (Ring.BEGINS, Ring.AGAIN) and self._manner.counters == ON:
            self._counter(pitfall, event)

    def _counter(self, pitfall: str, event: Callable[..., Event]) -> None:
        """Apply the pitfall's next counter."""
        ladder = LADDERS[pitfall]
        rung = climb(ladder, self._rung(pitfall), self.regime)
        if rung == len(ladder):
            self.journal.write_once(event(What.HELPLESS))
            return
        if ladder[rung].rolls_back:
            self._healthy.restore()
        self._climbed.append((pitfall, rung))
        self.regime = self._climb_all()
        self.journal.write(event(What.ACTION, ladder[rung].name))

    def _rung(self, pitfall: str) -> int:
        """The lowest of its ladder that was not climbed yet."""
        return max((rung + 1 for name, rung in self._climbed if name == pitfall), default=0)

    def _climb_all(self) -> Regime:
        counters = [LADDERS[pitfall][rung] for pitfall, rung in self._climbed]
        return reduce(_changed, counters, self._base)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        return state | {"climbed": list(self._climbed)}

    def load_state_dict(self, state_dict: Any) -> None:
        """From a checkpoint."""
        for name, part in self._parts().items():
            part.load_state_dict(state_dict[name])
        self._climbed = list(state_dict["climbed"])
        self.regime = self._climb_all()

    def _parts(self) -> dict[str, Stateful]:
        own: dict[str, Stateful] = {
            "figures": self._figures,
            "healthy": self._healthy,
            "journal": self.journal,
        }
        return {**own, **self._detectors}


def _changed(regime: Regime, counter: Counter) -> Regime:
    return counter.change(regime)
