"""What a personal fine-tune asks of a model, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from services.common.store import Kind
from services.finetune.recipes.resumable import Stateful

Told = Mapping[str, Tensor]
"""What the network reads of texts: each tensor has a row for each text."""


def rows(told: Told, places: Sequence[int]) -> Told:
    """Those of some texts."""
    return {name: values[list(places)] for name, values in told.items()}


class Tunable(Protocol):
    """A diffusion model in training."""

    kind: Kind
    family: str
    """Of what ``write`` leaves."""
    rate: float
    """Of learning, that suits it."""
    size: int
    """Pixels of a side."""
    count: int
    """Levels of noise."""
    described: dict[str, Any]
    """What a loader of it must know, for the manifest."""

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What a checkpoint holds, the optimiser aside."""
        ...

    @property
    def learned(self) -> list[torch.nn.Parameter]:
        """What changes."""
        ...

    def seen(self, pictures: Tensor) -> Tensor:
        """Pictures [n, 3, size, size] as the network sees them."""
        ...

    def told(self, texts: Sequence[str]) -> Told:
        """Texts as the network reads them."""
        ...

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """Levels to learn at."""
        ...

    def outcome(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """(what the network in training says of noisy pictures, what it should have said)."""
        ...

    def kept(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """The same of what is kept, which may be an average; without gradients."""
        ...

    def follow(self, step: int) -> None:
        """A step was done: let the average follow, where there is one."""
        ...

    def painted(self, prompts: Sequence[str], seeds: Sequence[int], steps: int) -> Tensor:
        """Pictures [n, 3, size, size] from -1 to 1 by what is kept."""
        ...

    def write(self, folder: Path) -> None:
        """The files of a version, without its manifest."""
        ...
