"""Several processes that train one model together, as ``torchrun`` starts them; one process without it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

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

    def agrees(self, wanted: bool) -> bool:
        """What the leader wants, in every process: a step that only some of them take never ends."""
        return bool(self.told(wanted))

    def told(self, value: Any) -> Any:
        """The leader's ``value``, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def after_the_leader(self) -> Iterator[None]:
        """The block, in the leader first: the others find the files that it wrote."""
        if self.size > 1 and not self.leads:
            dist.barrier()
        yield
        if self.size > 1 and self.leads:
            dist.barrier()

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
    """The processes that ``torchrun`` started this one with, connected while the block runs.

    Where there are GPUs, each has its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    try:
        yield Team(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
