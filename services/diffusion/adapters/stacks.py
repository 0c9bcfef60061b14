"""The factors of all adapters in use as one array, which is an input of a network's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from services.diffusion import engine
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.adapters.fitting import Sizes, check_fits, own
from services.diffusion.adapters.places import Places


class Stacks:
    """Implements ``services.diffusion.engine.Adapters``. Asked between calls of the network only."""

    def __init__(self, name: str, sizes: Sizes, convolutions: frozenset[str], ranks: int) -> None:
        """``sizes``: of the layers in the graph's order."""
        self._name, self._sizes, self._convolutions = name, sizes, convolutions
        self._places = Places(ranks)
        shapes = factor_shapes(list(sizes.values()), ranks)
        ends = list(accumulate(rows * columns for rows, columns in shapes))
        self.factors: npt.NDArray[np.float32] = np.zeros(ends[-1], np.float32)
        """Each layer's down [ranks, inputs], then its up [outputs, ranks]."""
        views = [
            part.reshape(shape) for part, shape in zip(np.split(self.factors, ends[:-1]), shapes, strict=True)
        ]
        self._views = {layer: views[2 * number : 2 * number + 2] for number, layer in enumerate(sizes)}

    def check(self, adapter: engine.Adapter) -> None:
        """Raises INVALID_ARGUMENT for an adapter that is not for this network, naming both."""
        check_fits(adapter, self._name, self._places.ranks, self._sizes, {}, self._convolutions)

    def holds(self, adapter: engine.Adapter) -> bool:
        """Whether it is in the network already."""
        return adapter.key in self._places

    def take(self, adapter: engine.Adapter) -> int | None:
        """The place where the adapter is now, until ``leave``; None while others use all ranks."""
        mine = own(adapter)
        held = self._places.find(mine.key)
        if held is None:
            held = self._places.give(mine.key, mine.rank)
            if held is None:
                return None
            self._write(mine, held.ranks)
        return held.place

    def leave(self, adapter: engine.Adapter) -> None:
        """One of the adapter's users has gone."""
        self._places.leave(adapter.key)

    def selection(self, rows: Sequence[Sequence[tuple[int, float]]]) -> npt.NDArray[np.float32]:
        """[rows, ranks]: at the ranks of each row's (place, scale) its scale, else 0."""
        return self._places.selection(rows)

    def _write(self, adapter: Adapter, ranks: Sequence[int]) -> None:
        """Put factors at these ranks of all layers, and zeros where the adapter has none."""
        for layer, (down, up) in self._views.items():
            down[list(ranks)], up[:, list(ranks)] = 0, 0
            if factors := adapter.factors.get(layer):
                own_ranks = list(ranks[: len(factors.down)])
                down[own_ranks], up[:, own_ranks] = factors.down, factors.up


def factor_shapes(sizes: Sequence[tuple[int, int]], ranks: int) -> list[tuple[int, int]]:
    """Of layers (inputs, outputs): down [ranks, inputs] and up [outputs, ranks] in turn."""
    return [shape for inputs, outputs in sizes for shape in ((ranks, inputs), (outputs, ranks))]


def layers_of(weights: Path) -> tuple[Mapping[str, tuple[int, int]], frozenset[str]]:
    """(sizes of the linear layers by name, sorted; names of the convolutions) in a file of weights."""
    with safe_open(weights, "numpy") as opened:
        shapes = {name: opened.get_slice(name).get_shape() for name in sorted(opened.keys())}
    matrices = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if len(shape) == 2}
    convolutions = frozenset(
        name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 4
    )
    return {name: (shape[1], shape[0]) for name, shape in sorted(matrices.items())}, convolutions
