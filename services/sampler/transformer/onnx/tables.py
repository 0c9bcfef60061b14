"""The adapters of one runner, beside each other in one pair of tensors a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.sampler.transformer.lora.adapter import Pair
from services.sampler.transformer.lora.linears import Linears, widths
from services.sampler.transformer.onnx.stepper import Array


class Tables:
    """Place p of the runner is row p - 1. There are as many rows as a power of two that held all so far.

    A layer has no inner numbers until an adapter comes that changes it: products over none cost nothing.
    """

    def __init__(self, linears: Linears) -> None:
        self.rows = 1
        """How many places there is memory for."""
        self._linears = linears
        self._downs = [np.zeros((1, each.inputs, 0), np.float32) for each in linears.layers]
        self._ups = [np.zeros((1, 0, each.outputs), np.float32) for each in linears.layers]
        self.widths = widths(each.inputs for each in linears.layers)

    def put(self, place: int, factors: Sequence[Pair | None]) -> bool:
        """Fill a place; returns whether the arrays had to move for it."""
        before = [each.ctypes.data for each in (*self._downs, *self._ups)]
        while place > self.rows:
            self.rows *= 2
        for number, pair in enumerate(factors):
            self._grow(number, pair is not None)
            self._downs[number][place - 1] = pair[0] if pair else 0.0
            self._ups[number][place - 1] = pair[1] if pair else 0.0
        return before != [each.ctypes.data for each in (*self._downs, *self._ups)]

    def choose(self, places: Sequence[int], chosen: Array) -> None:
        """Set ``chosen`` [places, rows, 1] to 1 where a row has a place, else to 0; spare rows have none."""
        chosen[:] = 0.0
        for row, place in enumerate(places):
            if place:
                chosen[place - 1, row] = 1.0

    def inputs(self) -> dict[str, Array]:
        """The arrays by the graph's names."""
        arrays: dict[str, Array] = {f"downs_{number}": each for number, each in enumerate(self._downs)}
        for number, each in enumerate(self._ups):
            arrays[f"ups_{number}"] = each.reshape(self.rows * each.shape[1], each.shape[2])
        return arrays

    def _grow(self, number: int, is_changed: bool) -> None:
        """Give a layer's arrays the sizes that they need, and what they had."""
        old_down, old_up = self._downs[number], self._ups[number]
        inner = self._linears.layers[number].inner(self._linears.rank) if is_changed else old_up.shape[1]
        if (len(old_up), old_up.shape[1]) == (self.rows, inner):
            return
        down = np.zeros((self.rows, old_down.shape[1], inner), np.float32)
        up = np.zeros((self.rows, inner, old_up.shape[2]), np.float32)
        down[: len(old_down), :, : old_down.shape[2]] = old_down
        up[: len(old_up), : old_up.shape[1]] = old_up
        self._downs[number], self._ups[number] = down, up
