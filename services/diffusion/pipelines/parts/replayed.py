"""Calls of a network as CUDA graphs: for few rows, starting its kernels takes longer than running them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from services.common.cuda_graphs import Record, Run

Network = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""Of samples [n, channels, height, width], timesteps [n] and what texts have: what it says, as samples."""

MOST = 32
"""Shapes of calls that are kept: each has inputs, a result and a graph of its own."""

_logger = logging.getLogger("pequod.diffusion")


class Replayed:
    """A network that records its call of a shape at the first one. Calls come one at a time.

    The result lies where the next call's will: fetch it before that.
    """

    def __init__(self, network: Network, record: Record) -> None:
        self._network = network
        self._record: Record | None = record
        self._kept: dict[object, tuple[list[Tensor], Run] | None] = {}

    @property
    def is_recording(self) -> bool:
        """Whether new shapes are recorded: False from the first one on that could not be."""
        return self._record is not None

    def __call__(self, samples: Tensor, timesteps: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Network``. A shape that could not be kept runs as it is."""
        given = [samples, timesteps, *inputs.values()]
        shapes = (*inputs, *(each.shape for each in given))
        if shapes not in self._kept:
            self._keep(shapes, given, list(inputs))
        kept = self._kept.get(shapes)
        if kept is None:
            return self._network(samples, timesteps, inputs)
        own, run = kept
        for mine, each in zip(own, given, strict=True):
            mine.copy_(each)
        return run()

    def _keep(self, shapes: object, given: list[Tensor], names: list[str]) -> None:
        """Record a call, if that can be done."""
        if self._record is None or len(self._kept) >= MOST:
            return
        own = [each.clone() for each in given]

        def call() -> Tensor:
            return self._network(own[0], own[1], dict(zip(names, own[2:], strict=True)))

        try:
            self._kept[shapes] = own, self._record(call)
        except torch.OutOfMemoryError:
            self._kept[shapes] = None  # a recorded call takes more memory than one that runs as it is
            torch.cuda.empty_cache()
        except RuntimeError as error:
            # Code that asks the GPU for values in between cannot be recorded.
            _logger.warning("calls are not recorded as CUDA graphs", extra={"error": str(error)})
            self._record = None
