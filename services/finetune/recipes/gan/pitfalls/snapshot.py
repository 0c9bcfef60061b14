"""A state of a training's parts to go back to."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from services.finetune.recipes.resumable import Stateful


class Snapshot:
    """The last state that was worth keeping, in memory and in checkpoints."""

    def __init__(self, parts: Mapping[str, Stateful]) -> None:
        self._parts = parts
        self._kept: dict[str, Any] = {}
        self.step = 0

    @property
    def is_empty(self) -> bool:
        return not self._kept

    def keep(self, step: int) -> None:
        """The parts as they are now."""
        self._kept = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
        self.step = step

    def restore(self) -> None:
        """The parts as they were then."""
        for name, kept in self._kept.items():
            self._parts[name].load_state_dict(copy.deepcopy(kept))  # optimisers work on in what they load

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"kept": self._kept, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._kept, self.step = state_dict["kept"], state_dict["step"]
