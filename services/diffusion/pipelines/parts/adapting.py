"""Adapters in a pipeline's network: the factors of all that are in use lie stacked in its linear layers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from services.diffusion import engine
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.adapters.fitting import Sizes, check_fits, own
from services.diffusion.adapters.places import Places
from services.diffusion.networks.adapted import Adapted, Lent, convolution_names, linear_names
from services.diffusion.pipelines.parts.placing import Place


class Stack:
    """The factors of one layer."""

    def __init__(self, layer: Lent, ranks: int, place: Place) -> None:
        inputs, outputs = layer.sizes
        self.layer = layer
        self.down = torch.zeros(ranks, inputs, device=place.device, dtype=place.dtype)
        self.up = torch.zeros(outputs, ranks, device=place.device, dtype=place.dtype)


class Loras:
    """Implements ``services.diffusion.engine.Adapters`` for a network's linear layers and convolutions.

    A layer has stacks from the first adapter on that changes it. What adapters change of text encoders is
    not lent: those read a text once a request, with weights of its own (``texts.py``).
    """

    def __init__(
        self, name: str, network: nn.Module, ranks: int, place: Place, texts: Mapping[int, Sizes]
    ) -> None:
        """Changes ``network``: its layers can be lent factors from now on. ``texts``: encoders' layers."""
        adapted = Adapted(network, [*linear_names(network), *convolution_names(network)])
        self._name = name
        self._layers = dict(zip(adapted.names, adapted.layers, strict=True))
        self._sizes = {name: each.sizes for name, each in self._layers.items()}
        self._texts = texts
        self._place = place
        self._places = Places(ranks)
        self._stacks: dict[str, Stack] = {}
        self._lock = threading.Lock()

    def check(self, adapter: engine.Adapter) -> None:
        """Raises INVALID_ARGUMENT for an adapter that is not for this network, naming both."""
        check_fits(adapter, self._name, self._places.ranks, self._sizes, self._texts)

    def holds(self, adapter: engine.Adapter) -> bool:
        """Whether it is in the network already."""
        return adapter.key in self._places

    def take(self, adapter: engine.Adapter) -> int | None:
        """The place where the adapter is now, until ``leave``; None while others use all ranks."""
        mine = own(adapter)
        with self._lock:
            if held := self._places.find(mine.key):
                return held.place
            held = self._places.give(mine.key, mine.rank)
            if held is None:
                return None
            try:
                self._write(mine, held.ranks)
            except BaseException:
                self._places.drop(mine.key)
                raise
            return held.place

    def leave(self, adapter: engine.Adapter) -> None:
        """One of the adapter's users has gone."""
        with self._lock:
            self._places.leave(adapter.key)

    @contextlib.contextmanager
    def lent(self, rows: Sequence[Sequence[tuple[int, float]]]) -> Iterator[None]:
        """In this block the network's next call is one of these rows, with their (place, scale)."""
        stacks = self._stacks
        if not any(rows) or not stacks:
            yield
            return
        with self._lock:
            chosen = torch.from_numpy(self._places.selection(rows))
        selection = chosen.to(self._place.device, self._place.dtype)
        lent = list(stacks.values())
        try:
            for each in lent:
                each.layer.lend(each.down, each.up, selection)
            yield
        finally:
            for each in lent:
                each.layer.take_back()

    @torch.inference_mode()
    def _write(self, adapter: Adapter, ranks: Sequence[int]) -> None:
        """Put factors at these ranks of all stacks, and zeros where the adapter has none."""
        for layer in adapter.factors:
            if layer not in self._stacks:
                # Not changed in place: a call may be going through the old ones.
                stack = Stack(self._layers[layer], self._places.ranks, self._place)
                self._stacks = self._stacks | {layer: stack}
        for layer, stack in self._stacks.items():
            stack.down[list(ranks)] = 0
            stack.up[:, list(ranks)] = 0
            if factors := adapter.factors.get(layer):
                own = list(ranks[: len(factors.down)])
                stack.down[own] = self._sent(factors.down)
                stack.up[:, own] = self._sent(factors.up)

    def _sent(self, values: np.typing.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(self._place.device, self._place.dtype)
