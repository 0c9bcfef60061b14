"""What a collection must be able to do with a layer's files, on disk and in object stores alike."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Key = tuple[str, str]
"""Name and version of a model."""

REMOVED = ".removed"
"""Folder, or prefix, of versions that are out of everybody's sight and about to be deleted."""
UNUSED = ".unused"
"""Folder, or prefix, of one mark for each version that nobody needed when it was made."""


@dataclass(frozen=True)
class Leftover:
    """What a writer that broke off has left."""

    where: str
    size_bytes: int
    changed_at: float
    """Seconds since 1970 of the last write to any of it."""


class Bin(Protocol):
    """Of one layer. Times are seconds since 1970. Blocking; raises OSError or LayerAway."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold off other collections. Raises UpkeepError when one is under way."""
        ...

    def published_at(self, key: Key) -> float:
        """When the version was put there."""
        ...

    def marks(self) -> Mapping[Key, float]:
        """Since when versions are marked as needed by nobody."""
        ...

    def mark(self, key: Key) -> None:
        """Note that nobody needs it, from now on."""
        ...

    def unmark(self, key: Key) -> None:
        """Somebody needs it after all, or it is gone."""
        ...

    def hide(self, key: Key) -> bool:
        """Take the version out of sight, whole; False when it is not there."""
        ...

    def hidden(self) -> Sequence[Key]:
        """Versions that were hidden and not yet dropped; more than none only after a collection broke off."""
        ...

    def bring_back(self, key: Key) -> None:
        """Undo ``hide``."""
        ...

    def drop(self, key: Key) -> None:
        """Delete what was hidden. Again after a break: deletes the rest."""
        ...

    def leftovers(self) -> Sequence[Leftover]:
        """What is neither a version's nor hidden."""
        ...

    def drop_leftover(self, leftover: Leftover) -> bool:
        """Delete it, unless somebody wrote there since."""
        ...
