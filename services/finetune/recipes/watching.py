"""How a training is followed: what it tells while it runs, and how it is asked to stop.

Recipes know no jobs. They tell a ``Watcher`` what happens; ``Alone`` is that of a recipe run by hand, a job
brings its own.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

TOLD_SECONDS = 1.0
"""From one word of a training to the watcher to the next; the first step is told at once."""


class Better(enum.StrEnum):
    """Which way a score is better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = ""
    """Shown only, not ranked by."""


@dataclass(frozen=True)
class Score:
    """One figure of a candidate."""

    name: str
    value: float
    better: Better = Better.NEITHER
    veto: str = ""
    """Why this score alone rules the candidate out; empty: it does not."""


@dataclass(frozen=True)
class Preview:
    """An output with a fixed prompt and seed, to compare over steps."""

    prompt: str
    seed: int
    image: bytes = b""
    """PNG; empty for a text."""
    text: str = ""


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that could be served as it is."""

    step: int
    folder: Path
    """A whole version, with its ``model.json``; name and version in it are provisional."""
    scores: tuple[Score, ...] = ()
    previews: tuple[Preview, ...] = ()


@dataclass(frozen=True)
class Alarm:
    """A detector's alarm, or its end."""

    kind: str
    """As in ``pequod.finetune.v1.AlarmKind``, in lower case: ``mode_collapse``, ``drift`` ..."""
    step: int
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)
    action: str = ""
    """What was done about it."""
    cleared: bool = False


class Stopped(Exception):
    """The training was asked to stop; its checkpoint is written."""


class Diverged(Exception):
    """The loss is no number any more; the last checkpoint is from before."""


class Watcher(Protocol):
    """Who follows a training. Every method returns at once."""

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """``step`` of ``steps`` are done; ``figures`` are means since the last time."""

    def progressed(self, done: int, total: int, message: str) -> None:
        """So much is done of what comes before the first step, or after the last."""

    def offered(self, candidate: Candidate) -> bool:
        """There is a new candidate. False: the last ones were no better, the training may end here."""

    def alarmed(self, alarm: Alarm) -> None:
        """A detector rang."""

    def logged(self, text: str) -> None:
        """Worth a line."""

    def wants_stop(self) -> bool:
        """Whether to write a checkpoint and raise ``Stopped``. Asked after every step."""


class Alone:
    """Nobody follows but the terminal."""

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """The curve says it."""

    def progressed(self, done: int, total: int, message: str) -> None:
        """Nothing is shown."""

    def offered(self, candidate: Candidate) -> bool:
        """A line of its scores."""
        _write({"candidate": candidate.step} | {each.name: round(each.value, 5) for each in candidate.scores})
        return True

    def alarmed(self, alarm: Alarm) -> None:
        """A line."""
        _write({"alarm": alarm.kind, "step": alarm.step, "message": alarm.message, "action": alarm.action})

    def logged(self, text: str) -> None:
        """A line."""
        sys.stderr.write(f"{text}\n")

    def wants_stop(self) -> bool:
        """Never: a signal ends the process, and the same command goes on from the last checkpoint."""
        return False


def _write(line: Mapping[str, object]) -> None:
    sys.stderr.write(f"{json.dumps(line)}\n")
