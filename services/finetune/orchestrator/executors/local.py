"""Runs each job in a child process of this machine, with a lower priority and its share of the cores."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.finetune.checkpoints.folder import JobFolder
from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor
from services.finetune.orchestrator.executors.children import Children
from services.finetune.orchestrator.executors.contract import Ended
from services.finetune.orchestrator.settings import JobSettings

_DEVICES = Path("/dev")


@dataclass
class _Child:
    """A worker and what it was given."""

    process: asyncio.subprocess.Process
    devices: Sequence[int]
    following: asyncio.Task[None] | None = field(default=None)


class LocalExecutor:
    """Children of this process: they write a checkpoint and leave when it dies."""

    name = Executor.LOCAL

    def __init__(self, settings: JobSettings, work: Path, children: Children) -> None:
        """``work``: where jobs' folders are."""
        self._settings, self._work, self._launcher = settings, work, children
        self.accelerators = found() if settings.accelerators < 0 else settings.accelerators
        self._idle = list(range(self.accelerators))
        self._children: dict[int, _Child] = {}

    @property
    def running(self) -> int:
        """Jobs at work here."""
        return len(self._children)

    def free(self) -> int | None:
        """None while as many jobs run as may."""
        return len(self._idle) if self.running < self._settings.jobs else None

    async def launch(self, claim: Claim, ended: Ended) -> None:
        """Start the worker; its output goes to the job's ``log.txt``."""
        job = claim.job
        devices = [self._idle.pop() for _ in range(job.spec.resources.accelerators)]
        folder = JobFolder(self._work, job.tenant, job.job_id).path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "log.txt").open("ab") as log:
                flags = {"job": job.job_id, "tenant": job.tenant}
                mine = {"owner": claim.owner, "epoch": claim.epoch}
                process = await self._launcher.start({**flags, **mine}, devices, log)
        except OSError:
            self._idle += devices
            raise
        child = _Child(process, devices)
        self._children[process.pid] = child
        child.following = asyncio.create_task(self._follow(child, claim, ended))

    async def close(self, grace: float) -> None:
        """A worker that is asked to stop writes a checkpoint and puts its job back into the queue."""
        children = list(self._children.values())
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        following = [child.following for child in children if child.following is not None]
        if following:
            _, late = await asyncio.wait(following, timeout=grace)
            for child in children if late else ():
                with contextlib.suppress(ProcessLookupError):
                    child.process.kill()
            await asyncio.gather(*following)

    async def _follow(self, child: _Child, claim: Claim, ended: Ended) -> None:
        await child.process.wait()
        del self._children[child.process.pid]
        self._idle += child.devices
        await ended(claim)


def found(devices: Path = _DEVICES) -> int:
    """NVIDIA GPUs of this machine."""
    try:
        return sum(re.fullmatch(r"nvidia\d+", each.name) is not None for each in devices.iterdir())
    except OSError:
        return 0
