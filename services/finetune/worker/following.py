"""The watcher that a job gives to its recipe: what it hears becomes progress, figures, events of the job."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

from services.finetune.checkpoints.folder import size_of
from services.finetune.jobs.job import Happening, Kind, Progress
from services.finetune.recipes.watching import Alarm, Candidate
from services.finetune.worker.reporter import Reporter
from services.finetune.worker.timing import Timing

_LEAST_SECONDS, _MOST_SECONDS = 1.0, 10.0
_SHARE = 600
"""Events of figures come after a share of the time that the run has taken, within these limits: a long job
does not drown in them."""
_STALLED = "stalled"
_LEAST_STALL, _STALL_TIMES = 120.0, 30.0
"""Seconds, and usual steps, without one that are an alarm: looks and candidates take their time too."""
_RECENT = 0.1
"""Weight of the newest measurement in the mean time of a step."""

Offer = Callable[[Candidate], bool]


class JobWatcher:
    """Follows one run. ``offer`` keeps a candidate, and says whether the training is to go on."""

    def __init__(self, reporter: Reporter, offer: Offer, must_stop: Callable[[], bool]) -> None:
        """``must_stop``: whether it is to end, whatever its owner wants."""
        self.timing = Timing()
        self.on_timed: Callable[[], None] | None = None
        """Called once, as soon as enough steps are timed; until it is set nothing counts as a step."""
        self._reporter, self._offer, self._must_stop = reporter, offer, must_stop
        self._began = time.monotonic()
        self._told = -math.inf
        self._pace = _Pace()
        self._is_stalled = False

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Figures that are numbers."""
        values = {name: value for name, value in figures.items() if math.isfinite(value)}
        remaining = self._pace.remaining(step, steps)
        if self._is_stalled:
            self._is_stalled = False
            self.alarmed(Alarm(_STALLED, step, "steps are done again", cleared=True))
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
        self.timing.candidate_bytes = size_of(candidate.folder)
        return self._offer(candidate)

    def alarmed(self, alarm: Alarm) -> None:
        """An event."""
        told = {**dataclasses.asdict(alarm), "figures": dict(alarm.figures)}
        self._reporter.say(Happening(Kind.ALARM, told))

    def logged(self, text: str) -> None:
        """An event."""
        self._reporter.say(Happening(Kind.LOG, {"level": "info", "text": text}))

    def wants_stop(self) -> bool:
        """When the job's owner wants it, or the process is to end. Asked after every step."""
        if self.on_timed is not None:
            self.timing.stepped()
            if self.timing.is_full:
                self.on_timed()
                self.on_timed = None
        wishes = self._reporter.wishes
        return wishes.cancel or wishes.pause or self._must_stop()

    def listen(self) -> None:
        """Called now and then from another thread: a training that stands still is an alarm."""
        since, usual = self._pace.since()
        if usual and not self._is_stalled and since > max(_LEAST_STALL, _STALL_TIMES * usual):
            self._is_stalled = True
            figures = {"seconds": round(since, 1), "usual_seconds": round(usual, 3)}
            why = f"no step for {since:.0f} s; steps took {usual:.2g} s"
            self.alarmed(Alarm(_STALLED, self._pace.step, why, figures))

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
        self.step = 0
        self._at = 0.0
        self._seconds = 0.0
        self._is_last = False

    def remaining(self, step: int, steps: int) -> float:
        """Seconds to the last step; 0 while nothing is known."""
        now = time.monotonic()
        if self._at and step > self.step:
            each = (now - self._at) / (step - self.step)
            self._seconds = each if not self._seconds else (1 - _RECENT) * self._seconds + _RECENT * each
        self.step, self._at = step, now
        self._is_last = step >= steps
        return round(self._seconds * (steps - step), 1)

    def since(self) -> tuple[float, float]:
        """Seconds since the last step was told of, and those that a step takes; 0 after the last one."""
        usual = 0.0 if self._is_last else self._seconds
        return time.monotonic() - self._at, usual
