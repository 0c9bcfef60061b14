"""A session whose inputs and outputs stay bound: to the caches in place, to arrays that are filled anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from services.sampler.transformer.runner import Logits

Array = npt.NDArray[Any]
More = Callable[[], dict[str, Array]]
"""Makes inputs beyond those of a plain step, at addresses that stay."""

_KEPT = 512
"""Bindings that are kept: one for each slot and number of blocks that prompts were read by."""


class Bound:
    """Arrays that the graph reads from, at fixed addresses."""

    def __init__(self, binding: Any, slots: int, tokens: int, rows: int) -> None:
        self.binding = binding
        self.ids = np.zeros((slots, tokens), np.int64)
        self.positions = np.zeros((slots, tokens), np.int64)
        self.last = np.zeros(slots, np.int32)
        self.longest = np.zeros(1, np.int32)
        self.rows = np.zeros(rows, np.int64)
        self.more: dict[str, Array] = {}

    def array(self, name: str) -> Array:
        """The input of that name."""
        array: Array = self.more[name] if name in self.more else getattr(self, name)
        return array


class Stepper:
    """Runs one graph over the first axes of ``cache``."""

    def __init__(self, session: ort.InferenceSession, cache: Sequence[Array], logits: Logits) -> None:
        """``logits`` [slots, vocabulary] is written to; a larger one takes its place where rows are more."""
        self._session, self._cache, self._logits = session, cache, logits
        self._names = [each.name for each in session.get_inputs()]
        self._bound: dict[tuple[int, ...], Bound] = {}

    def bind(self, first: int, slots: int, tokens: int, rows: int, more: More = dict) -> Bound:
        """Inputs of these sizes, over the slots from ``first`` on; ``more`` makes those it lacks.

        They are kept, for naming each cache to the session takes time.
        """
        if rows > len(self._logits):
            self._logits = np.zeros((rows, self._logits.shape[1]), np.float32)
            self._bound.clear()
        key = (first, slots, tokens, rows)
        if key not in self._bound:
            if len(self._bound) >= _KEPT:
                self._bound.clear()
            bound = Bound(self._session.io_binding(), slots, tokens, rows)
            bound.more = more()
            self._bound[key] = self._name(first, bound)
        return self._bound[key]

    def run(self, bound: Bound) -> Logits:
        """Logits of the rows that were asked for, valid until the next run."""
        self._session.run_with_iobinding(bound.binding)
        return self._logits

    def forget(self) -> None:
        """Arrays are about to move."""
        self._bound.clear()

    def _name(self, first: int, bound: Bound) -> Bound:
        """Tell the session where everything is: caches are entered and left at the same place."""
        for name in self._names:
            if not name.startswith(("keys_", "values_")):
                _input(bound.binding, name, bound.array(name))
        logits, *outputs = (each.name for each in self._session.get_outputs())
        _output(bound.binding, logits, self._logits[: len(bound.rows)])
        layers = range(len(self._cache) // 2)
        inputs = [f"{kind}_{layer}" for kind in ("keys", "values") for layer in layers]
        for part, entered, left in zip(self._cache, inputs, outputs, strict=True):
            view = part[first : first + len(bound.ids)]
            _input(bound.binding, entered, view)
            _output(bound.binding, left, view)
        return bound


def _input(binding: Any, name: str, array: Array) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _output(binding: Any, name: str, array: Array) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
