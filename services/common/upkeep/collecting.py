"""A garbage collection: sources say what nobody needs, and why; what is due goes, when that is wanted."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from obstore.exceptions import BaseError
from sqlalchemy.exc import SQLAlchemyError

from services.common.errors import ServiceError
from services.common.settings import SettingsError
from services.common.upkeep.errors import UpkeepError


@dataclass(frozen=True)
class Item:
    """Something that nobody needs."""

    kind: str
    """What it is: version, upload, export, cache, data set, content, checkpoint."""
    what: str
    size_bytes: int
    why: str
    goes_at: datetime | None
    """When it may go; None: it does not wait for anything."""
    is_due: bool
    tenant: str = ""
    """Whose it is, where it is anybody's."""
    key: Any = None
    """By which its source knows it."""


FAULTS = (UpkeepError, ServiceError, SettingsError, OSError, SQLAlchemyError, BaseError)
"""What a place that is away, or is not as it must be, raises."""


class Outcome(enum.StrEnum):
    """What became of an item."""

    WOULD_GO = "would go"
    WAITS = "waits"
    REMOVED = "removed"
    NEEDED = "needed again"


class Source(Protocol):
    """One kind of garbage. Blocking; raises ServiceError, OSError and what databases raise."""

    name: str

    def find(self, is_real: bool) -> Sequence[Item]:
        """All that nobody needs. ``is_real``: also note since when, and end what a broken run began."""

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """Remove what is due, unless it is needed meanwhile; whether each is gone."""


@dataclass(frozen=True)
class Failure:
    """A source that could not be looked through; nothing of it was removed that should not be."""

    source: str
    why: str


@dataclass(frozen=True)
class Collected:
    """What a collection came to."""

    items: Sequence[tuple[Item, Outcome]]
    failures: Sequence[Failure]

    def size_of(self, outcome: Outcome) -> int:
        """Bytes of all items that ended so."""
        return sum(item.size_bytes for item, found in self.items if found is outcome)


def collect(sources: Sequence[Source], is_real: bool, told: Callable[[Failure], None]) -> Collected:
    """Look through all sources; where ``is_real``, remove what is due. A failing source stops no other."""
    items: list[tuple[Item, Outcome]] = []
    failures = []
    for source in sources:
        try:
            items += _collected(source, is_real)
        except FAULTS as error:
            failures.append(Failure(source.name, str(error)))
            told(failures[-1])
    return Collected(items, failures)


def _collected(source: Source, is_real: bool) -> list[tuple[Item, Outcome]]:
    found = source.find(is_real)
    due = [item for item in found if item.is_due]
    outcomes = [(item, Outcome.WAITS) for item in found if not item.is_due]
    if not is_real:
        return [*((item, Outcome.WOULD_GO) for item in due), *outcomes]
    gone = list(source.remove(due))
    ended = [Outcome.REMOVED if each else Outcome.NEEDED for each in gone]
    return [*zip(due, ended, strict=True), *outcomes]
