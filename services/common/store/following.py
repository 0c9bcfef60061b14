"""What one follower of the store knows, and which models it must be told of."""

from __future__ import annotations

import threading

from services.common.store.layer import Layer

Shown = tuple[dict[str, Layer], dict[str, str]]
"""What a store shows of one model: the layer of each version, the version of each alias."""


class Follower:
    """Compares what the store shows from time to time.

    An alias may go there and back between two looks while somebody resolved it in between; that one
    would keep what he got for ever. So a model also counts as changed when anybody has been shown
    something else of it than the last look did.
    """

    def __init__(self) -> None:
        self._last: dict[str, Shown | None] = {}
        self._unsettled: set[str] = set()
        self._lock = threading.Lock()

    def resolved(self, name: str, shown: Shown) -> None:
        """Somebody was shown this. Called in any thread."""
        with self._lock:
            if self._last.get(name) != shown:
                self._unsettled.add(name)

    def looked(self, found: dict[str, Shown | None]) -> list[str]:
        """What a look found; returns the models that changed, sorted. None: damaged, so as it was."""
        with self._lock:
            now = {name: self._last.get(name) if shown is None else shown for name, shown in found.items()}
            names = self._last.keys() | now.keys()
            changed = self._unsettled | {name for name in names if self._last.get(name) != now.get(name)}
            self._last, self._unsettled = now, set()
        return sorted(changed)
