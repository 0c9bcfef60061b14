"""What a model takes and returns, as both doors describe it."""

from __future__ import annotations

from dataclasses import dataclass

FREE = -1
"""Stands for a size that a request chooses."""
ANY = 1 << 31
"""More than any message holds."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """FREE where the size is free."""
    optional: bool = False
    most: int = ANY
    """The largest first size."""
    setting: bool = False
    """Whether a parameter of the request may say it too: one value, or several texts."""

    def __str__(self) -> str:
        return f"{self.datatype}{list(self.shape)}"


@dataclass(frozen=True)
class Description:
    """A model."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decoupled: bool = False
    """Whether a request may have several replies."""


def settings(**datatypes: str) -> tuple[TensorSpec, ...]:
    """Optional inputs of one element, which may come as parameters too."""
    return tuple(
        TensorSpec(name, datatype, (1,), optional=True, setting=True) for name, datatype in datatypes.items()
    )
