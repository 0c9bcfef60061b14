"""What happened in a training: a line of JSON for each alarm and for each thing done about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


class What(StrEnum):
    """Kinds of events."""

    ALARM = "alarm"
    ACTION = "action"
    """A rung of the ladder; ``action`` is its name."""
    RECOVERED = "recovered"
    HELPLESS = "helpless"
    """The alarm rings on, and the ladder has no rung left."""


@dataclass(frozen=True)
class Event:
    """One line."""

    step: int
    pitfall: str
    what: What
    action: str = ""
    signs: list[str] = field(default_factory=list)
    """The figures that spoke for it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """All of them, as they were at that step."""


class Journal:
    """Events in a file, and in checkpoints: a training that goes on forgets what it will do again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.events: list[Event] = []
        self.tell: Callable[[Event], None] = _to_nobody
        """Hears of every event that is written."""

    def begin(self) -> None:
        """Make the file anew."""
        self._file.write_text("".join(f"{json.dumps(asdict(each))}\n" for each in self.events))

    def write(self, event: Event) -> None:
        """Add a line."""
        self.events.append(event)
        with self._file.open("a") as file:
            file.write(f"{json.dumps(asdict(event))}\n")
        self.tell(event)

    def write_once(self, event: Event) -> None:
        """Add a line, unless the last one of its pitfall says the same."""
        before = [each for each in self.events if each.pitfall == event.pitfall]
        if not before or before[-1].what != event.what:
            self.write(event)

    def plain(self) -> list[dict[str, Any]]:
        """The events as JSON knows them."""
        return [json.loads(json.dumps(asdict(each))) for each in self.events]

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"events": self.plain()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint; the file loses what came after it."""
        self.events = [Event(**{**each, "what": What(each["what"])}) for each in state_dict["events"]]
        self.begin()


def _to_nobody(event: Event) -> None:
    """The file says it."""
