"""Which pages of the cache hold which slot's positions: allocated as slots grow, moved without copying."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PAGE = 16
"""Positions in a page: as many as in a block that prefixes are kept by."""
SPARE = 0
"""The page that belongs to nobody: rows that only pad write there."""

Places = npt.NDArray[np.int64]
"""Positions of the whole cache: page * PAGE + offset."""


def up(count: int, multiple: int) -> int:
    """The least multiple that is not less than ``count``."""
    return -(-count // multiple) * multiple


def pages_for(positions: int, slots: int, length: int, ahead: int) -> int:
    """Pages that hold ``positions`` however they are spread over slots of at most ``length`` positions.

    Each slot may leave its last page unfilled, and a step may go beyond by ``ahead`` positions before
    whoever counts positions makes room.
    """
    most = slots * up(length, PAGE)
    return min(up(positions + ahead, PAGE) + slots * PAGE, most) // PAGE


class PageTable:
    """The pages of every slot, in order, and those that are free. Pages are numbered from 1."""

    def __init__(self, slots: int, length: int, pages: int) -> None:
        self.rows = np.full((slots, up(length, PAGE) // PAGE), SPARE, np.int32)
        """Pages by slot; SPARE beyond what the slot holds."""
        self._held = np.zeros(slots, np.int64)
        self._free = list(range(pages, 0, -1))

    @property
    def free(self) -> int:
        """How many pages nobody holds."""
        return len(self._free)

    def hold(self, slot: int, length: int) -> None:
        """Give a slot the pages of ``length`` positions, and take those beyond.

        Raises RuntimeError when too few pages are free; the slot then holds what it held.
        """
        wanted, held = up(length, PAGE) // PAGE, int(self._held[slot])
        if wanted - held > len(self._free):
            raise RuntimeError(f"the cache is full: a slot needs {wanted - held} pages, {self.free} are free")
        for number in range(held, wanted):
            self.rows[slot, number] = self._free.pop()
        self._free.extend(self.rows[slot, wanted:held].tolist())
        self.rows[slot, wanted:held] = SPARE
        self._held[slot] = wanted

    def move(self, source: int, target: int) -> None:
        """Give a slot what another holds, which then holds nothing; its own pages are freed."""
        self.hold(target, 0)
        self.swap(source, target)

    def swap(self, first: int, second: int) -> None:
        """Exchange what two slots hold."""
        self.rows[[first, second]] = self.rows[[second, first]]
        self._held[[first, second]] = self._held[[second, first]]

    def places(self, slot: int, start: int, end: int) -> Places:
        """Where a slot's positions start .. end - 1 are."""
        positions = np.arange(start, end)
        found: Places = self.rows[slot, positions // PAGE].astype(np.int64) * PAGE + positions % PAGE
        return found

    def next_places(self, slots: int, lengths: Places) -> Places:
        """Where the positions ``lengths`` of the first slots are, one each."""
        pages = self.rows[np.arange(slots), lengths // PAGE].astype(np.int64)
        found: Places = pages * PAGE + lengths % PAGE
        return found
