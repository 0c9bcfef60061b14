"""Calls at a time."""

from __future__ import annotations

from typing import Protocol


class Places(Protocol):
    """A bounded number of them."""

    async def free(self) -> bool:
        """Whether one may be taken now."""

    def enter(self) -> None:
        """Take one."""

    def leave(self) -> None:
        """Give it back."""

    async def tidy(self) -> None:
        """Called every few seconds, and at the end."""


class OwnPlaces:
    """The places of one gateway; None: as many as are wanted."""

    def __init__(self, most: int | None) -> None:
        self.running = 0
        self._most = most

    async def free(self) -> bool:
        """See Places."""
        return self._most is None or self.running < self._most

    def enter(self) -> None:
        """See Places."""
        self.running += 1

    def leave(self) -> None:
        """See Places."""
        self.running -= 1

    async def tidy(self) -> None:
        """Nothing is anybody else's."""
