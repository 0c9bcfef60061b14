"""Steps on a GPU: all slots together, in batches of few sizes, each recorded once as a CUDA graph.

A step of a small model is many short kernels, and starting each takes longer than running it; a graph starts
all at once. It reads its inputs where they were when it was recorded, so each size has buffers of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from services.common.cuda_graphs import Record, Run
from services.sampler.transformer.runner import Ids
from services.sampler.transformer.torch.attention import Attend, Together
from services.sampler.transformer.torch.cache import PagedCache
from services.sampler.transformer.torch.pages import PAGE, SPARE, PageTable, up
from services.sampler.transformer.torch.runner import Numbers
from services.sampler.transformer.torch.stepped import Stepped

_FEWEST_PAGES = 16
"""Pages of the smallest step; others have twice, four times, ... as many."""

Attention = Callable[[PagedCache, Together], Attend]

_logger = logging.getLogger("pequod.sampler")


def batch_sizes(slots: int) -> list[int]:
    """Sizes that batches are padded to: 1, 2, 4, then multiples of 8, as far as ``slots`` need them."""
    sizes = [1, 2, 4, *range(8, up(slots, 8) + 1, 8)]
    return [size for size, before in zip(sizes, [0, *sizes], strict=False) if before < slots]


class Inputs:
    """What a step of ``batch`` slots with ``pages`` pages each reads, as one copy to the device."""

    def __init__(self, batch: int, pages: int, device: torch.device) -> None:
        self.batch = batch
        self._host = torch.zeros(4 + pages, batch, dtype=torch.int64, pin_memory=device.type == "cuda")
        self._device = torch.zeros_like(self._host, device=device)
        self.ids, self.positions, self.places, self.lengths = self._device[:4].unbind()
        self.pages = self._device[4:]

    def fill(self, ids: Ids, lengths: Numbers, places: Numbers, pages: Numbers) -> None:
        """Take a step's rows; those that only pad are texts of one token on the spare page."""
        count, host = len(ids), self._host.numpy()
        host[:, count:] = 0
        host[3, count:] = 1
        host[0, :count], host[1, :count], host[2, :count], host[3, :count] = ids, lengths, places, lengths + 1
        host[4:, :count] = pages.T
        host[4:, count:] = SPARE
        self._device.copy_(self._host, non_blocking=True)

    def together(self) -> Together:
        """The step's sequences, of one row each."""
        return Together(self.places, self.pages.T.to(torch.int32).contiguous(), self.lengths.to(torch.int32))


class BatchSteps:
    """Steps of all slots together."""

    def __init__(
        self, model: Stepped, table: PageTable, cache: PagedCache, attention: Attention, record: Record | None
    ) -> None:
        """``record``: how steps that write become graphs; None: they do not."""
        self._model, self._table, self._cache = model, table, cache
        self._attention, self._record = attention, record
        self._batches = batch_sizes(len(table.rows))
        self._runs: dict[tuple[int, int], tuple[Inputs, Run]] = {}

    def read(self, slot: int, start: int, ids: Ids, rows: Sequence[int]) -> Tensor:
        """See ``Steps``."""
        device, end = self._model.device, start + len(ids)
        pages = self._table.rows[slot, : self._page_count(end)]
        step = Together(
            _on(self._table.places(slot, start, end), device),
            _on(pages[None], device),
            torch.tensor([end], dtype=torch.int32, device=device),
        )
        return self._model.logits(
            _on(ids, device),
            torch.arange(start, end, device=device),
            torch.tensor(list(rows), device=device),
            self._attention(self._cache, step),
        )

    def write(self, ids: Ids, lengths: Numbers) -> Tensor:
        """See ``Steps``."""
        count = len(ids)
        batch = next(size for size in self._batches if size >= count)
        pages = self._page_count(int(lengths.max()) + 1)
        inputs, run = self._run_of(batch, pages)
        places = self._table.next_places(count, lengths)
        inputs.fill(ids, lengths, places, self._table.rows[:count, :pages].astype(np.int64))
        return run()

    def warm_up(self) -> None:
        """Record every size of batch, for texts that are not long yet."""
        nothing = np.zeros(0, np.int64)
        for batch in self._batches:
            pages = self._page_count(1)
            inputs, run = self._run_of(batch, pages)
            inputs.fill(nothing, nothing, nothing, np.zeros((0, pages), np.int64))
            run()

    def _page_count(self, length: int) -> int:
        """Pages that a step looks at for texts of up to ``length`` positions."""
        most, pages = self._table.rows.shape[1], _FEWEST_PAGES
        while pages * PAGE < length:
            pages *= 2
        return min(pages, most)

    def _run_of(self, batch: int, pages: int) -> tuple[Inputs, Run]:
        """The buffers and the run of a size; a new size is recorded when it first runs."""
        if (batch, pages) not in self._runs:
            inputs = Inputs(batch, pages, self._model.device)
            self._runs[batch, pages] = inputs, self._recorded(inputs, (batch, pages))
        return self._runs[batch, pages]

    def _recorded(self, inputs: Inputs, size: tuple[int, int]) -> Run:
        order = torch.arange(inputs.batch, device=self._model.device)

        def step() -> Tensor:
            attend = self._attention(self._cache, inputs.together())
            return self._model.logits(inputs.ids, inputs.positions, order, attend)

        def first() -> Tensor:
            """Record with the inputs that are there now: writing them again changes nothing."""
            run = self._try_to_record(step)
            self._runs[size] = inputs, run
            return run()

        return step if self._record is None else first

    def _try_to_record(self, step: Run) -> Run:
        """A model whose code asks the GPU for values in between cannot be recorded: it runs as it is."""
        if self._record is None:
            return step
        try:
            return self._record(step)
        except RuntimeError as error:
            _logger.warning(
                "steps of this model are not recorded as CUDA graphs", extra={"error": str(error)}
            )
            self._record = None
            return step


def _on(array: np.ndarray[tuple[int, ...], np.dtype[np.signedinteger]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
