"""Several processes that train one model together, as ``torchrun`` starts them; one process without it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """This process's number among all of them."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch, whose rows must be divisible among all."""
        return batch[self.rank :: self.size]

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Make every gradient the mean of all processes'."""
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(
            gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))


ALONE = Team()


@contextlib.contextmanager
def team() -> Iterator[Team]:
    """The processes that ``torchrun`` started this one with, connected while the block runs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    dist.init_process_group("gloo")
    try:
        yield Team(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
