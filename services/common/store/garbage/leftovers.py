"""What writers that broke off have left in a layer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from services.common.store.garbage.bins import Bin
from services.common.upkeep.collecting import Item


class LeftoverGarbage:
    """Of one layer: staging folders, or files of a version without a manifest, quiet for ``seconds``."""

    name = "broken uploads"

    def __init__(self, bin: Bin, seconds: float) -> None:
        self._bin, self._seconds = bin, seconds

    def find(self, is_real: bool) -> Sequence[Item]:
        """Quiet ones are due, others may still be written to."""
        now = time.time()
        return [
            Item(
                kind="upload",
                what=each.where,
                size_bytes=each.size_bytes,
                why="whoever wrote it never finished",
                goes_at=datetime.fromtimestamp(each.changed_at + self._seconds, UTC).replace(microsecond=0),
                is_due=each.changed_at + self._seconds <= now,
                key=each,
            )
            for each in self._bin.leftovers()
        ]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """Those that nobody wrote to meanwhile."""
        if not items:
            return []
        with self._bin.alone():
            return [self._bin.drop_leftover(item.key) for item in items]
