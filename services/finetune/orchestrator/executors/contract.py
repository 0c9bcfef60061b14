"""What an orchestrator asks of an executor; names no implementation."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor as Name


class Standing(enum.StrEnum):
    """How far a run is."""

    WAITING = "waiting"
    """Its worker has not begun and keeps no lease: others keep it meanwhile."""
    WORKING = "working"
    """Its worker speaks for itself."""
    ENDED = "ended"


class Ending(enum.StrEnum):
    """What an end means for a job whose worker did not say it itself."""

    DIED = "died"
    """Another attempt goes on from the last checkpoint; it counts as one."""
    DISPLACED = "displaced"
    """Others needed the place: back into the queue, and it counts as nothing."""
    HOPELESS = "hopeless"
    """Another attempt would end as this one did."""


@dataclass(frozen=True)
class View:
    """What can be seen of a run from outside."""

    standing: Standing
    message: str = ""
    """Why it waits, or how it ended, in a sentence; "" when there is nothing to say."""
    ending: Ending = Ending.DIED
    reason: str = ""
    """Of the catalogue, for one that is displaced or hopeless."""


@dataclass(frozen=True)
class Run:
    """A worker of one claim."""

    tenant: str
    job_id: str
    owner: str
    epoch: int
    """Owner and epoch of the claim that it works under."""
    handle: str
    """What the executor calls it: always the same for one job and epoch."""
    view: View


@dataclass(frozen=True)
class Terms:
    """What jobs are offered."""

    accelerators: int = 0
    """That one job may have."""
    accelerator_type: str = "nvidia.com/gpu"
    queue: str = ""
    refusal: str = ""
    """Why no job can run there; "" when they can."""
    is_remote: bool = False
    """Whether workers run on other machines, which see none of this one's folders."""
    keeps_files: bool = True
    """Whether what a worker leaves in its folder is here afterwards: checkpoints, previews."""


class Executor(Protocol):
    """Runs workers, each for one claim. Methods raise ServiceError UNAVAILABLE when it is away."""

    name: Name
    terms: Terms
    outlives: bool
    """Whether runs go on when this process ends."""

    def free(self) -> int | None:
        """Accelerators that a job may have now; None while there is no place for a job at all."""
        ...

    async def launch(self, claim: Claim) -> str:
        """Start a worker, once however often it is asked for; returns its handle.

        Raises OSError and ServiceError when it cannot be.
        """
        ...

    async def poll(self) -> Sequence[Run]:
        """Every run that there is, whoever started it; one that has ended until it is forgotten."""
        ...

    async def stop(self, handle: str, grace: float) -> None:
        """Ask a worker to stop, and end it after ``grace`` seconds; nothing happens when it is gone."""
        ...

    def nudge(self, tenant: str, job_id: str) -> None:
        """Have a job's worker ask at once what is wanted of it, where that can be: it asks once a second."""
        ...

    def forget(self, handle: str) -> None:
        """What became of an ended run is written down."""
        ...
