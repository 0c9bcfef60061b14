"""A bound on long work under way, taken before it begins, so that none is refused halfway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.common.errors import overloaded

_RETRY_SECONDS = 5.0
"""Such work takes seconds to minutes; how long is up to the callers."""


class Places:
    """So many at a time; others are refused at once."""

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most = what, most
        self.taken = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises UNAVAILABLE, reason OVERLOADED, while all are taken."""
        if self.taken >= self._most:
            raise overloaded(f"{self.taken} {self._what} are under way", _RETRY_SECONDS)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
