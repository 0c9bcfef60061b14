"""Low-rank adapters of layers (Hu et al., "LoRA", 2021), whatever network they are for.

The scale by the root of the rank is Kalajdzievski's, "A Rank Stabilization Scaling Factor for Fine-Tuning
with LoRA", 2023.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

_MOST_ALPHA = 1e6
_MOST_PATTERN = 300
"""Characters."""
# The expressions come with the adapter, and Python's matcher goes back as often as they let it.
_REPEATS = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]|\\[1-9]|\(\?")


@dataclass(frozen=True, eq=False)
class Factors:
    """What is added to a layer's weight [out, in], a convolution's laid out flat: ``up @ down``."""

    down: Matrix
    """[rank, in]."""
    up: Matrix
    """[out, rank], the adapter's scale in it."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Changes of a model's layers; what a request names."""

    name: str
    key: str
    """Tells apart adapters that give different results."""
    factors: Mapping[str, Factors]
    """By the layer's name in the model."""

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max((len(each.down) for each in self.factors.values()), default=0)

    @property
    def nbytes(self) -> int:
        """Memory of all factors."""
        return sum(each.down.nbytes + each.up.nbytes for each in self.factors.values())


def checked(layer: str, down: Matrix, up: Matrix, scale: float) -> Factors:
    """The factors of a layer. Raises ValueError where they do not fit together or are not finite."""
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
        raise ValueError(f"{layer}: factors {list(down.shape)} and {list(up.shape)} do not fit together")
    if not (np.isfinite(down).all() and np.isfinite(up).all()):
        raise ValueError(f"{layer}: its factors hold numbers that are not finite")
    return Factors(down, up * np.float32(scale))


def scale_of(layer: str, rank: int, config: Mapping[str, Any], alpha: Any) -> float:
    """What a layer's product is multiplied by; patterns in PEFT's ``config`` give layers their own alpha.

    ``alpha`` holds where no pattern does. Raises ValueError for one that is no number.
    """
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping):
        raise ValueError("alpha_pattern must be an object")
    if rank < 1:
        raise ValueError(f"{layer}: its factors have no rows")
    for pattern, value in patterns.items():
        if _compiled(pattern).match(layer):
            alpha = value
            break
    if not isinstance(alpha, int | float) or not abs(alpha) <= _MOST_ALPHA:
        raise ValueError(
            f"lora_alpha must be a number in -{_MOST_ALPHA:g}..{_MOST_ALPHA:g}, got {str(alpha)[:80]}"
        )
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _compiled(pattern: str) -> re.Pattern[str]:
    """As PEFT means it, a name or its end. Raises ValueError for one that could take for ever to match."""
    if len(pattern) > _MOST_PATTERN or _REPEATED_GROUP.search(pattern) or len(_REPEATS.findall(pattern)) > 2:
        raise ValueError(f"alpha_pattern {pattern[:80]!r} is more than a name with at most two '*' or '+'")
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"alpha_pattern {pattern[:80]!r} is no pattern: {error}") from None
