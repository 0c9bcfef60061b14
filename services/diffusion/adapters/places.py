"""Who has which ranks of a network's stacked factors: the least recently used adapter makes room."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(eq=False)
class Held:
    """Ranks of one adapter."""

    place: int
    """Names this stay in the network; never used again for another."""
    ranks: tuple[int, ...]
    users: int = 0


class Places:
    """``ranks`` of them, for adapters known by their keys. Not for several threads at once."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._free = list(range(ranks))
        self._held: OrderedDict[str, Held] = OrderedDict()  # the least recently used first
        self._places: dict[int, Held] = {}
        self._numbers = itertools.count()

    def __contains__(self, key: str) -> bool:
        """Whether an adapter has ranks."""
        return key in self._held

    def find(self, key: str) -> Held | None:
        """One more user of an adapter that has ranks."""
        held = self._held.get(key)
        if held is not None:
            held.users += 1
            self._held.move_to_end(key)
        return held

    def give(self, key: str, rank: int) -> Held | None:
        """Ranks for an adapter that has none, whose first user this is; None while others use too many."""
        unused = [other for other, held in self._held.items() if not held.users]
        if len(self._free) + sum(len(self._held[other].ranks) for other in unused) < rank:
            return None
        for other in unused:
            if len(self._free) >= rank:
                break
            self.drop(other)
        held = Held(next(self._numbers), tuple(self._free[:rank]), users=1)
        del self._free[:rank]
        self._held[key] = self._places[held.place] = held
        return held

    def leave(self, key: str) -> None:
        """One user of an adapter has gone; its ranks stay until they are needed."""
        self._held[key].users -= 1

    def drop(self, key: str) -> None:
        """Take an adapter's ranks from it."""
        held = self._held.pop(key)
        del self._places[held.place]
        self._free = sorted((*self._free, *held.ranks))

    def selection(self, rows: Sequence[Sequence[tuple[int, float]]]) -> npt.NDArray[np.float32]:
        """[rows, ranks]: at the ranks of each row's (place, scale) its scale, else 0."""
        chosen = np.zeros((len(rows), self.ranks), np.float32)
        for row, adapters in enumerate(rows):
            for place, scale in adapters:
                chosen[row, list(self._places[place].ranks)] = scale
        return chosen
