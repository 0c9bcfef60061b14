"""What of the cache is beyond its limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.common.store.cache import evict, surplus
from services.common.upkeep.collecting import Item


class CacheGarbage:
    """Of this machine."""

    name = "cache"

    def __init__(self, cache: Path, limit: int) -> None:
        """``limit`` in bytes; 0: none."""
        self._cache, self._limit = cache, limit

    def find(self, is_real: bool) -> Sequence[Item]:
        """The least recently used, as many as have to leave."""
        return [
            Item(
                kind="cache",
                what=str(entry.path.relative_to(self._cache)),
                size_bytes=entry.size_bytes,
                why=f"the cache is beyond its limit, and this was last used {_day(entry.used_at)}",
                goes_at=None,
                is_due=True,
                key=entry,
            )
            for entry in surplus(self._cache, self._limit)
        ]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """Those that were not used meanwhile."""
        return [evict(self._cache, item.key) for item in items]


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%F %R}Z"
