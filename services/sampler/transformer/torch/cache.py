"""Keys and values of all layers in pages; a page is the same one in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.sampler.transformer.runner import Block
from services.sampler.transformer.torch.pages import PAGE, Places


@dataclass(frozen=True)
class LayerShape:
    """What one layer keeps of a position."""

    kv_heads: int
    key_width: int
    value_width: int

    @property
    def numbers(self) -> int:
        """How many numbers that is."""
        return self.kv_heads * (self.key_width + self.value_width)


class PagedCache:
    """For each layer keys and values [pages, PAGE, kv_heads, width]."""

    def __init__(
        self, layers: Sequence[LayerShape], pages: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """``pages`` besides the spare one. On the CPU, pages take memory when they are first written to."""

        def part(heads: int, width: int) -> Tensor:
            return torch.zeros(pages + 1, PAGE, heads, width, dtype=dtype, device=device)

        self.device = device
        self.keys = [part(layer.kv_heads, layer.key_width) for layer in layers]
        self.values = [part(layer.kv_heads, layer.value_width) for layer in layers]

    def put(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Keep a layer's keys and values [rows, kv_heads, width] at ``places`` [rows]."""
        self.keys[layer].flatten(0, 1).index_copy_(0, places, keys)
        self.values[layer].flatten(0, 1).index_copy_(0, places, values)

    def get(self, layer: int, pages: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values [..., pages * PAGE, kv_heads, width] of pages [..., pages]."""
        parts = (self.keys[layer], self.values[layer])
        keys, values = (
            part.index_select(0, pages.flatten()).view(*pages.shape[:-1], -1, *part.shape[2:])
            for part in parts
        )
        return keys, values

    def save(self, places: Places) -> Block:
        """A copy of all that is kept at ``places``: bytes [places, bytes of a position]."""
        chosen = self._tensor(places)
        rows = [part.flatten(0, 1).index_select(0, chosen).flatten(1) for part in self._parts()]
        saved: Block = torch.cat(rows, dim=1).view(torch.uint8).cpu().numpy()
        return saved

    def restore(self, places: Places, block: Block) -> None:
        """Put back what ``save`` gave, at any ``places``."""
        chosen, begin = self._tensor(places), 0
        rows = torch.from_numpy(block).to(self.device).view(self.keys[0].dtype)
        for part in self._parts():
            width = part.shape[2] * part.shape[3]
            piece = rows[:, begin : begin + width].reshape(len(rows), *part.shape[2:])
            part.flatten(0, 1).index_copy_(0, chosen, piece)
            begin += width

    def close(self) -> None:
        """Give the memory back."""
        self.keys.clear()
        self.values.clear()

    def _parts(self) -> Sequence[Tensor]:
        return (*self.keys, *self.values)

    def _tensor(self, places: Places) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(places)).to(self.device)
