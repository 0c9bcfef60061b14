"""What is to be seen of a GAN while it trains: figures of its steps, and how its pictures differ."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Figures:
    """Means of what steps noted, kept as tensors: a GPU need not be waited for."""

    def __init__(self) -> None:
        self._noted: dict[str, list[Tensor]] = {}
        self._earlier: dict[str, Tensor] = {}
        """What was noted before a stop."""

    def note(self, figures: Mapping[str, Tensor]) -> None:
        """Add figures of a step."""
        for name, figure in figures.items():
            self._noted.setdefault(name, []).append(figure.detach())

    def read(self) -> dict[str, float]:
        """Means since they were last read."""
        means = {name: each.mean().item() for name, each in self.state_dict().items()}
        self._noted, self._earlier = {}, {}
        return means

    def state_dict(self) -> dict[str, Tensor]:
        """For checkpoints: what was noted and not yet read, by name in the order of steps."""
        state = dict(self._earlier)
        for name, each in self._noted.items():
            state[name] = torch.cat((state.get(name, torch.zeros(0)), torch.stack(each).cpu()))
        return state

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """From a checkpoint."""
        self._noted, self._earlier = {}, dict(state_dict)


def share(is_right: Tensor) -> Tensor:
    """Of a [n] of bool, what share is true."""
    return is_right.float().mean()


def variety(pictures: Tensor) -> float:
    """How far pictures [n, 3, size, size] are from their mean; near 0 where all are one."""
    return float(pictures.std(dim=0).mean().item())


def quantiles(logits: Tensor) -> list[float]:
    """The 0th, 5th, 10th ... 100th percentile of logits [n], to tell what a logit means."""
    marks = torch.linspace(0, 1, 21, device=logits.device)
    return [round(each, 4) for each in torch.quantile(logits.float(), marks).tolist()]
