"""Where a recipe trains: the CPU, or a GPU, and how exact the products of its matrices are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)

NAMES = ("auto", "cpu", "cuda")
AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)
"""Of products of matrices; weights and sums stay in float32. ``auto`` is bfloat16 on a GPU. So it can be on a
CPU too, and is quicker there if the CPU has units for it (AMX), else far slower."""


class Device:
    """A processor that tensors live on."""

    def __init__(self, name: str, threads: int, precision: str = AUTO) -> None:
        """``auto`` takes a GPU if there is one; ``threads`` are of the CPU. Raises ValueError for another."""
        if name not in NAMES:
            raise ValueError(f"device is {name!r}, one of {', '.join(NAMES)} is needed")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}, one of {', '.join(PRECISIONS)} is needed")
        if name == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but torch sees no GPU here")
        torch.set_num_threads(threads)
        self.is_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
        self.torch = torch.device("cuda" if self.is_gpu else "cpu")
        self._is_halved = precision == BFLOAT16 or (precision == AUTO and self.is_gpu)

    def place(self, network: N) -> N:
        """Move a network of convolutions here, its weights laid out as they are fastest."""
        moved: Any = network  # torch's types know no memory_format
        placed: N = moved.to(self.torch, memory_format=torch.channels_last)
        return placed

    def products(self) -> AbstractContextManager[object]:
        """Within it, products of matrices are as exact as a training needs, and as fast as that allows."""
        return torch.autocast(self.torch.type, torch.bfloat16, enabled=self._is_halved)
