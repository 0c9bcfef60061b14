"""The tensors at a graph's edges, and the check of what a caller feeds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from services.common.errors import invalid


class GraphTensor(BaseModel):
    """A tensor that a graph takes or returns; ``dtype`` is numpy's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """A size, or the name of a free axis (equal names, equal sizes), or -1 for a free axis without one."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape with -1 for every free axis."""
        return tuple(size if isinstance(size, int) else -1 for size in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if size == -1 else str(size) for size in self.shape)}]"


def check_feeds(inputs: Sequence[GraphTensor], feeds: Mapping[str, np.ndarray]) -> None:
    """Raise INVALID_ARGUMENT naming the tensor when ``feeds`` is not what the graph takes."""
    known = {tensor.name for tensor in inputs}
    for name in feeds:
        if name not in known:
            raise invalid(f"inputs.{name}", f"the graph takes {', '.join(sorted(known)) or 'nothing'}")
    free: dict[str, tuple[int, str]] = {}
    for tensor in inputs:
        if tensor.name not in feeds:
            raise invalid(f"inputs.{tensor.name}", f"is missing; the graph takes {tensor}")
        _check_tensor(tensor, feeds[tensor.name], free)


def _check_tensor(tensor: GraphTensor, value: np.ndarray, free: dict[str, tuple[int, str]]) -> None:
    field = f"inputs.{tensor.name}"
    if not isinstance(value, np.ndarray):
        raise invalid(field, f"is a {type(value).__name__}; the graph takes {tensor}")
    if value.dtype != tensor.dtype or value.ndim != len(tensor.shape):
        raise invalid(field, f"is {value.dtype}{list(value.shape)}; the graph takes {tensor}")
    for axis, (size, wanted) in enumerate(zip(value.shape, tensor.shape, strict=True)):
        if size == 0:
            raise invalid(field, f"axis {axis} is empty; the graph takes {tensor}")
        if isinstance(wanted, str):
            first, where = free.setdefault(wanted, (size, field))
            if first != size:
                raise invalid(field, f"axis {axis} ({wanted}) is {size}, but {first} in {where}")
        elif wanted not in (-1, size):
            raise invalid(field, f"axis {axis} is {size}; the graph takes {tensor}")
