"""The contract of what steps a model: it holds weights, keys and values, and knows no sequences or queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.sampler.engine import Inside
from services.sampler.transformer.lora.adapter import Pair

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Block = npt.NDArray[np.generic]
"""Keys and values of some positions, as a runner lays them out."""


class Runner(Protocol):
    """A cache of ``slots`` slots of ``length`` positions each, and the two ways to fill it.

    One numeric path: what a slot gets depends on its own tokens, its adapter and how they were cut, never on
    other slots. Arrays returned are the runner's own and hold until its next call.
    """

    slots: int
    length: int
    vocabulary: int
    layers: int
    bytes_per_position: int
    piece: int
    """Positions that ``read`` is quickest for: it takes whole pieces, but at the end of a prompt."""
    adapters: int
    """How many adapters it holds at once, in the places 1 .. ``adapters``; place 0 changes nothing."""

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int], adapter: int = 0) -> Logits:
        """Append ``ids`` [n] to ``slot``, which holds ``start`` positions; logits [rows, vocabulary]."""
        ...

    def write(self, ids: Ids, lengths: Sequence[int], adapters: Sequence[int] = ()) -> Logits:
        """Append one id to each of the first n slots, which hold ``lengths``; logits [n, vocabulary].

        ``adapters``: each slot's; empty: none.
        """
        ...

    def open_adapted(self) -> None:
        """Make ready to take adapters, which takes a while the first time; from any thread."""
        ...

    def attach(self, place: int, factors: Sequence[Pair | None]) -> None:
        """Put an adapter into a place that no slot uses: what ``Linears.factors`` gives."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Have a slot hold the first ``length`` positions of another, which is then as good as free."""
        ...

    def swap(self, first: int, second: int, lengths: tuple[int, int]) -> None:
        """Exchange what two slots hold."""
        ...

    def free(self, slot: int) -> None:
        """Forget what a slot holds."""
        ...

    def save(self, slot: int, start: int, count: int) -> Block:
        """A copy of ``count`` positions of a slot."""
        ...

    def restore(self, slot: int, start: int, block: Block) -> None:
        """Put back what ``save`` gave, at any slot's position ``start`` = that which it was saved from."""
        ...

    def close(self) -> None:
        """Let go of weights and cache."""
        ...


class Inspector(Protocol):
    """Looks inside a model, from any thread."""

    def look(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """What happens to a prompt's ids, with the attention of the positions ``chosen``."""
        ...
