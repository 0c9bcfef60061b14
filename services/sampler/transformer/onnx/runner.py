"""Steps a model on ONNX Runtime's CPU provider, over contiguous slots that the graph appends to in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.sampler.transformer.onnx.session import open_session
from services.sampler.transformer.runner import Block, Ids, Logits

SPARE = 16
"""Positions that a slot of the graph's cache has beyond the last one, for rows that only pad."""
_ROWS = 16
"""Products in floating point get a multiple of this many rows: else their sums depend on how many."""

_KEPT = 512
"""Bindings that are kept: one for each slot and number of blocks that prompts were read by."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model and its slots; named as in ``config.json``."""

    vocab_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_dim: int
    length: int
    """Positions of a slot."""


class OnnxRunner:
    """One session and its cache. Calls come one at a time."""

    def __init__(
        self,
        graph: Path,
        weights: Mapping[str, Array],
        sizes: Sizes,
        slots: int,
        threads: int,
        padded: bool,
    ) -> None:
        """``weights`` by the graph's names; ``padded`` when its linear layers are in floating point."""
        self.vocabulary = sizes.vocab_size
        self.slots, self.length = slots, sizes.length
        self._multiple = _ROWS if padded else 1
        self._session = open_session(graph, weights, threads)
        self._names = [each.name for each in self._session.get_inputs()]
        self.layers = sizes.num_hidden_layers
        layers, heads = sizes.num_hidden_layers, sizes.num_key_value_heads
        part = (_up(slots, self._multiple), heads, self.length + SPARE, sizes.head_dim)
        # Pages of untouched slots are never handed out by the system, so the cache grows with its use.
        self._cache = [np.zeros(part, np.float32) for _ in range(2 * layers)]
        self.bytes_per_position = 2 * layers * heads * sizes.head_dim * 4
        self._filled = np.zeros(part[0], np.int64)
        self._logits = np.zeros((part[0], self.vocabulary), np.float32)
        self._bound: dict[tuple[int, int, int, int], _Bound] = {}

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int]) -> Logits:
        """Append ``ids`` to one slot; see ``Runner``."""
        # Attention is in floating point in any graph, so prompts are always padded.
        count = _up(len(ids), _ROWS)
        bound = self._bind(slot, 1, count, _up(len(rows), self._multiple))
        bound.ids[0, : len(ids)] = ids
        bound.ids[0, len(ids) :] = 0
        bound.positions[0] = np.minimum(np.arange(start, start + count), self.length - 1)
        bound.last[0] = start + count - 1
        bound.longest[0] = start + count
        bound.rows[: len(rows)] = rows
        bound.rows[len(rows) :] = 0
        self._filled[slot] = start + len(ids)
        return self._run(bound)[: len(rows)]

    def write(self, ids: Ids, lengths: Sequence[int]) -> Logits:
        """Append one id to each of the first slots; see ``Runner``."""
        count = _up(len(ids), self._multiple)
        bound = self._bind(0, count, 1, count)
        bound.ids[: len(ids), 0] = ids
        bound.ids[len(ids) :, 0] = 0
        bound.last[: len(ids)] = lengths
        # Rows that only pad write where their slot's next position will be.
        bound.last[len(ids) :] = self._filled[len(ids) : count]
        bound.positions[:, 0] = np.minimum(bound.last, self.length - 1)
        bound.longest[0] = bound.last.max() + 1
        bound.rows[:] = np.arange(count)
        self._filled[: len(ids)] = bound.last[: len(ids)] + 1
        return self._run(bound)[: len(ids)]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot over another."""
        for part in self._cache:
            part[target, :, :length] = part[source, :, :length]
        self._filled[target] = length

    def swap(self, first: int, second: int, lengths: tuple[int, int]) -> None:
        """Exchange what two slots hold."""
        longest = max(lengths)
        for part in self._cache:
            kept = part[first, :, :longest].copy()
            part[first, :, :longest] = part[second, :, :longest]
            part[second, :, :longest] = kept
        self._filled[[first, second]] = self._filled[[second, first]]

    def save(self, slot: int, start: int, count: int) -> Block:
        """[2 * layers, kv_heads, count, head_dim] of a slot."""
        return np.stack([part[slot, :, start : start + count] for part in self._cache])

    def restore(self, slot: int, start: int, block: Block) -> None:
        """Put back what ``save`` gave."""
        for part, kept in zip(self._cache, block, strict=True):
            part[slot, :, start : start + kept.shape[1]] = kept
        self._filled[slot] = start + block.shape[2]

    def close(self) -> None:
        """Let go of the session and the cache."""
        self._bound.clear()
        self._cache.clear()
        del self._session

    def _run(self, bound: _Bound) -> Logits:
        self._session.run_with_iobinding(bound.binding)
        return self._logits

    def _bind(self, first: int, slots: int, tokens: int, rows: int) -> _Bound:
        """Inputs and outputs of these sizes; kept, for naming each cache to the session takes time."""
        if rows > len(self._logits):
            self._logits = np.zeros((rows, self.vocabulary), np.float32)
            self._bound.clear()
        key = (first, slots, tokens, rows)
        if key not in self._bound:
            if len(self._bound) >= _KEPT:
                self._bound.clear()
            self._bound[key] = self._name(first, _Bound(self._session.io_binding(), slots, tokens, rows))
        return self._bound[key]

    def _name(self, first: int, bound: _Bound) -> _Bound:
        """Tell the session where everything is: caches are entered and left at the same place."""
        for name in self._names:
            if not name.startswith(("keys_", "values_")):
                _input(bound.binding, name, getattr(bound, name))
        logits, *outputs = (each.name for each in self._session.get_outputs())
        _output(bound.binding, logits, self._logits[: len(bound.rows)])
        layers = range(len(self._cache) // 2)
        inputs = [f"{kind}_{layer}" for kind in ("keys", "values") for layer in layers]
        for part, entered, left in zip(self._cache, inputs, outputs, strict=True):
            view = part[first : first + len(bound.ids)]
            _input(bound.binding, entered, view)
            _output(bound.binding, left, view)
        return bound


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


class _Bound:
    """Arrays that the graph reads from, at fixed addresses."""

    def __init__(self, binding: Any, slots: int, tokens: int, rows: int) -> None:
        self.binding = binding
        self.ids = np.zeros((slots, tokens), np.int64)
        self.positions = np.zeros((slots, tokens), np.int64)
        self.last = np.zeros(slots, np.int32)
        self.longest = np.zeros(1, np.int32)
        self.rows = np.zeros(rows, np.int64)


def _input(binding: Any, name: str, array: Array) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _output(binding: Any, name: str, array: Array) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
