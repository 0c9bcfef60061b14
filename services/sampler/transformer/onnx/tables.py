"""The adapters of one runner, beside each other in one pair of tensors a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.sampler.transformer.lora.linears import Linears
from services.sampler.transformer.onnx.stepper import Array
from services.sampler.transformer.runner import Pair


class Tables:
    """Place p of the runner is row p - 1. There are as many rows as a power of two that held all so far."""

    def __init__(self, linears: Linears) -> None:
        self._downs = [
            np.zeros((1, each.inputs, each.inner(linears.rank)), np.float32) for each in linears.layers
        ]
        self._ups = [
            np.zeros((1, each.inner(linears.rank), each.outputs), np.float32) for each in linears.layers
        ]

    @property
    def rows(self) -> int:
        """How many places there is memory for."""
        return len(self._downs[0])

    def put(self, place: int, factors: Sequence[Pair]) -> bool:
        """Fill a place; returns whether the arrays had to move for it."""
        grows = place > self.rows
        while place > self.rows:
            self._downs = [np.concatenate((each, np.zeros_like(each))) for each in self._downs]
            self._ups = [np.concatenate((each, np.zeros_like(each))) for each in self._ups]
        for number, (down, up) in enumerate(factors):
            self._downs[number][place - 1] = down
            self._ups[number][place - 1] = up
        return grows

    def choose(self, places: Sequence[int], chosen: Array) -> None:
        """Set ``chosen`` [places, rows] to 1 where a row has a place, else to 0; the last rows have none."""
        chosen[:] = 0.0
        for row, place in enumerate(places):
            if place:
                chosen[place - 1, row] = 1.0

    def inputs(self) -> dict[str, Array]:
        """The arrays by the graph's names."""
        downs = {f"downs_{number}": each for number, each in enumerate(self._downs)}
        return downs | {f"ups_{number}": each for number, each in enumerate(self._ups)}
