"""What an orchestrator asks of an executor; names no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor as Name

Ended = Callable[[Claim], Awaitable[None]]
"""Called when the process of a claim is gone, whatever it did before."""


class Executor(Protocol):
    """Runs workers, each for one claim."""

    name: Name
    accelerators: int
    """That it has in all; a job that wants more never runs."""

    def free(self) -> int | None:
        """Accelerators that a job may have now; None while there is no place for a job at all."""

    async def launch(self, claim: Claim, ended: Ended) -> None:
        """Start a worker. Raises OSError when it cannot be."""

    async def close(self, grace: float) -> None:
        """Ask every worker to stop; end those that have not after ``grace`` seconds."""
