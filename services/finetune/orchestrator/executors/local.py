"""Runs each job in a child process of this machine, with a lower priority and its share of the cores."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.finetune.checkpoints.folder import JobFolder
from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor
from services.finetune.orchestrator.executors.children import Children, resident_bytes
from services.finetune.orchestrator.executors.contract import Run, Standing, Terms, View
from services.finetune.orchestrator.settings import JobSettings

_DEVICES = Path("/dev")


@dataclass
class _Child:
    """A worker and what it was given."""

    process: asyncio.subprocess.Process
    claim: Claim
    devices: Sequence[int]
    following: asyncio.Task[None]

    @property
    def view(self) -> View:
        """By its exit code: what it did before, it has written down itself."""
        code = self.process.returncode
        if code is None:
            return View(Standing.WORKING)
        return View(Standing.ENDED, f"its process ended with exit code {code}" if code else "")


class LocalExecutor:
    """Children of this process: they write a checkpoint and leave when it dies."""

    name = Executor.LOCAL
    outlives = False

    def __init__(self, settings: JobSettings, work: Path, children: Children) -> None:
        """``work``: where jobs' folders are."""
        self.changed: Callable[[], None] = lambda: None
        """Called when a child is gone."""
        self._settings, self._work, self._launcher = settings, work, children
        self.terms = Terms(found() if settings.accelerators < 0 else settings.accelerators)
        self._idle = list(range(self.terms.accelerators))
        self._children: dict[str, _Child] = {}

    def free(self) -> int | None:
        """None while as many jobs run as may."""
        running = sum(each.process.returncode is None for each in self._children.values())
        return len(self._idle) if running < self._settings.jobs else None

    def memory_bytes(self) -> int:
        """Of all workers now; 0 where the system does not tell."""
        pids = [each.process.pid for each in self._children.values() if each.process.returncode is None]
        return sum(map(resident_bytes, pids))

    async def launch(self, claim: Claim) -> str:
        """Start the worker; its output goes to the job's ``log.txt``."""
        job, handle = claim.job, f"{claim.job.job_id}-{claim.epoch}"
        if handle in self._children:
            return handle
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
        following = asyncio.create_task(self._follow(process, devices))
        self._children[handle] = _Child(process, claim, devices, following)
        return handle

    async def poll(self) -> Sequence[Run]:
        """The children."""
        return [
            Run(
                each.claim.job.tenant,
                each.claim.job.job_id,
                each.claim.owner,
                each.claim.epoch,
                name,
                each.view,
            )
            for name, each in self._children.items()
        ]

    async def stop(self, handle: str, grace: float) -> None:
        """A worker that is asked to writes a checkpoint and puts its job back into the queue."""
        child = self._children.get(handle)
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.process.terminate()
        _, late = await asyncio.wait([child.following], timeout=grace)
        if late:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
            await child.following

    def nudge(self, tenant: str, job_id: str) -> None:
        """A line to the job's child: it asks at once what is wanted of it."""
        for each in self._children.values():
            job = each.claim.job
            if (job.tenant, job.job_id) == (tenant, job_id) and each.process.returncode is None:
                assert each.process.stdin is not None, "children are started with one"
                each.process.stdin.write(b"\n")

    def forget(self, handle: str) -> None:
        """An ended child."""
        self._children.pop(handle, None)

    async def _follow(self, process: asyncio.subprocess.Process, devices: Sequence[int]) -> None:
        await process.wait()
        self._idle += devices
        self.changed()


def found(devices: Path = _DEVICES) -> int:
    """NVIDIA GPUs of this machine."""
    try:
        return sum(re.fullmatch(r"nvidia\d+", each.name) is not None for each in devices.iterdir())
    except OSError:
        return 0
