"""Steps a model on ONNX Runtime's CPU provider, over contiguous slots that the graph appends to in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime as ort

from services.sampler.transformer.lora.adapter import Pair
from services.sampler.transformer.lora.linears import Linears
from services.sampler.transformer.onnx.stepper import Array, Bound, Stepper
from services.sampler.transformer.onnx.tables import Tables
from services.sampler.transformer.runner import Block, Ids, Logits

SPARE = 16
"""Positions that a slot of the graph's cache has beyond the last one, for rows that only pad."""
_ROWS = 16
"""Products in floating point get a multiple of this many rows: else their sums depend on how many."""
_PIECE = 8
"""Rows of a read where all but attention is in integers."""

Open = Callable[[], ort.InferenceSession]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model and its slots; named as in ``config.json``."""

    vocab_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_dim: int
    length: int
    """Positions of a slot."""


@dataclass(frozen=True)
class Graphs:
    """The two forms of a model's step; the second is opened when the first adapter comes."""

    plain: Open
    adapted: Open
    linears: Linears


class OnnxRunner:
    """The sessions of one model and its cache. Calls come one at a time."""

    def __init__(self, graphs: Graphs, sizes: Sizes, slots: int, adapters: int, padded: bool) -> None:
        """``padded`` when the model's linear layers are in floating point."""
        self.vocabulary = sizes.vocab_size
        self.slots, self.length, self.adapters = slots, sizes.length, adapters
        self._multiple = _ROWS if padded else 1
        self.piece = _ROWS if padded else _PIECE
        self.layers = sizes.num_hidden_layers
        layers, heads = sizes.num_hidden_layers, sizes.num_key_value_heads
        part = (_up(slots, self._multiple), heads, self.length + SPARE, sizes.head_dim)
        # Pages of untouched slots are never handed out by the system, so the cache grows with its use.
        self._cache = [np.zeros(part, np.float32) for _ in range(2 * layers)]
        self.bytes_per_position = 2 * layers * heads * sizes.head_dim * 4
        self._filled = np.zeros(part[0], np.int64)
        self._graphs = graphs
        self._plain = self._stepper(graphs.plain)
        self._tables = Tables(graphs.linears)
        self._adapted: Stepper | None = None
        self._opening = threading.Lock()

    def open_adapted(self) -> None:
        """Open the session that takes adapters, which takes a while; from any thread."""
        with self._opening:
            if self._adapted is None:
                self._adapted = self._stepper(self._graphs.adapted)

    def attach(self, place: int, factors: Sequence[Pair | None]) -> None:
        """Put an adapter into a place; see ``Runner``."""
        self.open_adapted()
        assert self._adapted is not None
        if self._tables.put(place, factors):
            self._adapted.forget()

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int], adapter: int = 0) -> Logits:
        """Append ``ids`` to one slot; see ``Runner``."""
        # Attention is in floating point in any graph, adapters too, so prompts are always padded.
        count = _up(len(ids), _ROWS if adapter else self.piece)
        stepper, bound = self._bind((slot, 1, count), _up(len(rows), self._wanted(adapter)), (adapter,))
        bound.ids[0, : len(ids)] = ids
        bound.ids[0, len(ids) :] = 0
        bound.positions[0] = np.minimum(np.arange(start, start + count), self.length - 1)
        bound.last[0] = start + count - 1
        bound.longest[0] = start + count
        bound.rows[: len(rows)] = rows
        bound.rows[len(rows) :] = 0
        self._filled[slot] = start + len(ids)
        return stepper.run(bound)[: len(rows)]

    def write(self, ids: Ids, lengths: Sequence[int], adapters: Sequence[int] = ()) -> Logits:
        """Append one id to each of the first slots; see ``Runner``."""
        count = _up(len(ids), self._multiple)
        stepper, bound = self._bind((0, count, 1), count, adapters)
        bound.ids[: len(ids), 0] = ids
        bound.ids[len(ids) :, 0] = 0
        bound.last[: len(ids)] = lengths
        # Rows that only pad write where their slot's next position will be.
        bound.last[len(ids) :] = self._filled[len(ids) : count]
        bound.positions[:, 0] = np.minimum(bound.last, self.length - 1)
        bound.longest[0] = bound.last.max() + 1
        bound.rows[:] = np.arange(count)
        self._filled[: len(ids)] = bound.last[: len(ids)] + 1
        return stepper.run(bound)[: len(ids)]

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

    def free(self, slot: int) -> None:
        """Forget what a slot holds: the next who has it writes over it."""
        self._filled[slot] = 0

    def save(self, slot: int, start: int, count: int) -> Block:
        """[2 * layers, kv_heads, count, head_dim] of a slot."""
        return np.stack([part[slot, :, start : start + count] for part in self._cache])

    def restore(self, slot: int, start: int, block: Block) -> None:
        """Put back what ``save`` gave."""
        for part, kept in zip(self._cache, block, strict=True):
            part[slot, :, start : start + kept.shape[1]] = kept
        self._filled[slot] = start + block.shape[2]

    def close(self) -> None:
        """Let go of the sessions and the cache."""
        self._cache.clear()
        del self._plain, self._adapted

    def _stepper(self, open_graph: Open) -> Stepper:
        logits = np.zeros((len(self._filled), self.vocabulary), np.float32)
        return Stepper(open_graph(), self._cache, logits)

    def _wanted(self, adapter: int) -> int:
        """A multiple of how many rows the head takes; the deltas' products are in floating point."""
        return _ROWS if adapter else self._multiple

    def _bind(self, cut: tuple[int, int, int], rows: int, adapters: Sequence[int]) -> tuple[Stepper, Bound]:
        """Inputs of a step over ``cut`` (first slot, slots, tokens), in the graph that ``adapters`` need."""
        if not any(adapters):
            return self._plain, self._plain.bind(*cut, rows)
        assert self._adapted is not None  # an adapter has a place, so one was attached
        slots, tokens = cut[1:]
        bound = self._adapted.bind(*cut, rows, partial(self._more, rows=slots * tokens, last=rows))
        for name in ("chosen", "chosen_rows"):
            # A prompt's rows have one adapter all, and writers one row each.
            each = adapters * bound.more[name].shape[1] if slots == 1 else adapters
            self._tables.choose(each, bound.more[name])
        return self._adapted, bound

    def _more(self, rows: int, last: int) -> dict[str, Array]:
        """Inputs that only the graph with adapters has: for a step of so many rows, and rows to unembed."""
        places, missing = self._tables.rows, _up(rows, _ROWS) - rows
        zeros = [np.zeros((missing, width), np.float32) for width in self._tables.widths]
        return {
            **self._tables.inputs(),
            **{f"zeros_{number}": each for number, each in enumerate(zeros)},
            "chosen": np.zeros((places, rows + missing, 1), np.float32),
            "chosen_rows": np.zeros((places, last + missing, 1), np.float32),
        }


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
