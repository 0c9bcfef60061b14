"""Steps a model in PyTorch over paged keys and values. Calls come one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.common.errors import unsupported
from services.sampler.transformer.lora.adapter import Pair
from services.sampler.transformer.runner import Block, Ids, Logits
from services.sampler.transformer.torch.attention import Span, one_by_one
from services.sampler.transformer.torch.cache import PagedCache
from services.sampler.transformer.torch.pages import PAGE, SPARE, PageTable, up
from services.sampler.transformer.torch.stepped import Stepped

_ROWS = 16
"""Products on the CPU get a multiple of this many rows: else their sums depend on how many."""

Numbers = npt.NDArray[np.int64]


class Steps(Protocol):
    """How rows get through the model, once their slots have pages."""

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int]) -> Tensor:
        """Logits [at least rows, vocabulary] of the ``rows`` of a piece of a prompt."""
        ...

    def write(self, ids: Ids, lengths: Numbers) -> Tensor:
        """Logits [at least ids, vocabulary] after one more id in each of the first slots."""
        ...


class TorchRunner:
    """A cache of pages and the steps over it; see ``Runner``."""

    adapters = 0
    piece = _ROWS

    def __init__(
        self, model: Stepped, table: PageTable, cache: PagedCache, steps: Steps, length: int
    ) -> None:
        self.slots, self.length = len(table.rows), length
        self.vocabulary = model.vocabulary
        self.layers = len(model.layers)
        self.bytes_per_position = position_bytes(model)
        self._table, self._cache, self._steps = table, cache, steps
        self._pinned = model.device.type == "cuda"
        self._logits = self._room(self.slots)

    @torch.inference_mode()
    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int], adapter: int = 0) -> Logits:
        """Append ``ids`` to one slot; see ``Runner``."""
        self._table.hold(slot, start + len(ids))
        return self._fetch(self._steps.read(slot, start, ids, rows), len(rows))

    @torch.inference_mode()
    def write(self, ids: Ids, lengths: Sequence[int], adapters: Sequence[int] = ()) -> Logits:
        """Append one id to each of the first slots; see ``Runner``."""
        for slot, length in enumerate(lengths):
            self._table.hold(slot, length + 1)
        return self._fetch(self._steps.write(ids, np.asarray(lengths, np.int64)), len(ids))

    def open_adapted(self) -> None:
        """UNSUPPORTED: there are no places for adapters."""
        raise unsupported("models that PyTorch steps take no adapters")

    def attach(self, place: int, factors: Sequence[Pair | None]) -> None:
        """UNSUPPORTED: there are no places for adapters."""
        self.open_adapted()

    def move(self, source: int, target: int, length: int) -> None:
        """Give a slot the pages of another."""
        self._table.move(source, target)

    def swap(self, first: int, second: int, lengths: tuple[int, int]) -> None:
        """Exchange the pages of two slots."""
        self._table.swap(first, second)

    def free(self, slot: int) -> None:
        """Take a slot's pages."""
        self._table.hold(slot, 0)

    def save(self, slot: int, start: int, count: int) -> Block:
        """Bytes [count, bytes of a position]; see ``PagedCache``."""
        return self._cache.save(self._table.places(slot, start, start + count))

    def restore(self, slot: int, start: int, block: Block) -> None:
        """Put back what ``save`` gave."""
        end = start + len(block)
        self._table.hold(slot, end)
        self._cache.restore(self._table.places(slot, start, end), block)

    def close(self) -> None:
        """Let go of the model and the cache."""
        self._cache.close()
        del self._steps

    def _fetch(self, logits: Tensor, count: int) -> Logits:
        """Logits on the host, in memory that is this runner's own and held once."""
        if count > len(self._logits):
            self._logits = self._room(count)
        self._logits[:count].copy_(logits[:count])  # from a GPU: waits until it is done
        fetched: Logits = self._logits[:count].numpy()
        return fetched

    def _room(self, rows: int) -> Tensor:
        return torch.empty(rows, self.vocabulary, dtype=torch.float32, pin_memory=self._pinned)


def position_bytes(model: Stepped) -> int:
    """Bytes of a position's keys and values in all layers."""
    return sum(layer.numbers for layer in model.layers) * model.dtype.itemsize


class ExactSteps:
    """Steps on the CPU: what a slot gets is the same to the bit in any company."""

    def __init__(self, model: Stepped, table: PageTable, cache: PagedCache) -> None:
        self._model, self._table, self._cache = model, table, cache
        self.apart = False
        """Whether each slot's token goes through the model alone, for models whose rows know each other."""

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int]) -> Tensor:
        """See ``Steps``."""
        places = self._table.places(slot, start, start + len(ids))
        pages = self._pages(slot, start + len(ids))
        spans = []
        for begin in range(0, len(ids), PAGE):
            count = min(PAGE, len(ids) - begin)
            needed = up(start + begin + count, PAGE) // PAGE
            spans.append(Span(begin, count, start + begin, pages[:needed]))
        return self._step(ids, np.arange(start, start + len(ids)), places, np.asarray(rows), spans)

    def write(self, ids: Ids, lengths: Numbers) -> Tensor:
        """See ``Steps``."""
        if not self.apart:
            return self._write(ids, lengths, slice(0, len(ids)))
        slots = [slice(slot, slot + 1) for slot in range(len(ids))]
        return torch.cat([self._write(ids, lengths, slot)[:1] for slot in slots])

    def _write(self, ids: Ids, lengths: Numbers, slots: slice) -> Tensor:
        """Append to some of the slots that are written to."""
        places = self._table.next_places(len(ids), lengths)[slots]
        ids, lengths = ids[slots], lengths[slots]
        spans = [
            Span(row, 1, length, self._pages(slots.start + row, length + 1))
            for row, length in enumerate(lengths.tolist())
        ]
        return self._step(ids, lengths, places, np.arange(len(ids)), spans)

    def _pages(self, slot: int, length: int) -> Tensor:
        return torch.from_numpy(self._table.rows[slot, : up(length, PAGE) // PAGE].astype(np.int64))

    def _step(
        self, ids: Ids, positions: Numbers, places: Numbers, wanted: Numbers, spans: Sequence[Span]
    ) -> Tensor:
        """Rows through the model, padded with rows that write to the spare page and see nothing."""
        rows, chosen = up(len(ids), _ROWS), up(len(wanted), _ROWS)
        attend = one_by_one(self._cache, _padded(places, rows, SPARE), spans)
        return self._model.logits(
            _padded(ids, rows), _padded(positions, rows), _padded(wanted, chosen), attend
        )


def _padded(numbers: Numbers, count: int, value: int = 0) -> Tensor:
    """Numbers [n] followed by as many of ``value`` as make them ``count``."""
    padded = np.full(count, value, np.int64)
    padded[: len(numbers)] = numbers
    return torch.from_numpy(padded)
