"""The watcher that a job gives to its recipe: what it hears becomes progress, figures, events of the job."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Mapping

from services.finetune.jobs.job import Happening, Kind, Progress
from services.finetune.recipes.watching import Alarm, Candidate
from services.finetune.worker.reporter import Reporter

_LEAST_SECONDS, _MOST_SECONDS = 1.0, 10.0
_SHARE = 600
"""Events of figures come after a share of the time that the run has taken, within these limits: a long job
does not drown in them."""
_RECENT = 0.1
"""Weight of the newest measurement in the mean time of a step."""

Offer = Callable[[Candidate], bool]


class JobWatcher:
    """Follows one run. ``offer`` keeps a candidate, and says whether the training is to go on."""

    def __init__(self, reporter: Reporter, offer: Offer, stopping: threading.Event) -> None:
        """``stopping``: the process is asked to end."""
        self._reporter, self._offer, self._stopping = reporter, offer, stopping
        self._began = time.monotonic()
        self._told = -math.inf
        self._pace = _Pace()

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Figures that are numbers."""
        values = {name: value for name, value in figures.items() if math.isfinite(value)}
        remaining = self._pace.remaining(step, steps)
        self._reporter.say(step=step, metrics=values, remaining_seconds=remaining)
        if step == steps or self._is_due():
            told = {"step": step, "steps": steps, "values": values, "remaining_seconds": remaining}
            self._reporter.say(Happening(Kind.METRICS, told))

    def progressed(self, done: int, total: int, message: str) -> None:
        """Of what is not counted in steps."""
        progress = Progress(done, total, message)
        self._reporter.say(progress=progress)
        if self._is_due():
            self._reporter.say(Happening(Kind.PROGRESS, dataclasses.asdict(progress)))

    def offered(self, candidate: Candidate) -> bool:
        """Kept at once."""
        return self._offer(candidate)

    def alarmed(self, alarm: Alarm) -> None:
        """An event."""
        told = {**dataclasses.asdict(alarm), "figures": dict(alarm.figures)}
        self._reporter.say(Happening(Kind.ALARM, told))

    def logged(self, text: str) -> None:
        """An event."""
        self._reporter.say(Happening(Kind.LOG, {"level": "info", "text": text}))

    def wants_stop(self) -> bool:
        """When the job's owner wants it, or the process is to end."""
        wishes = self._reporter.wishes
        return wishes.cancel or wishes.pause or self._stopping.is_set()

    def _is_due(self) -> bool:
        now = time.monotonic()
        spacing = min(max((now - self._began) / _SHARE, _LEAST_SECONDS), _MOST_SECONDS)
        if now - self._told < spacing:
            return False
        self._told = now
        return True


class _Pace:
    """How long steps take, the newest ones above all."""

    def __init__(self) -> None:
        self._step = 0
        self._at = 0.0
        self._seconds = 0.0

    def remaining(self, step: int, steps: int) -> float:
        """Seconds to the last step; 0 while nothing is known."""
        now = time.monotonic()
        if self._at and step > self._step:
            each = (now - self._at) / (step - self._step)
            self._seconds = each if not self._seconds else (1 - _RECENT) * self._seconds + _RECENT * each
        self._step, self._at = step, now
        return round(self._seconds * (steps - step), 1)
