"""Starts worker processes on this machine: the command, its environment, its priority."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from services.common.threads import available_cores, thread_variables
from services.finetune.orchestrator.settings import JobSettings

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of a job that wait for each other sleep: where the cores are busy with other work too, those that
spin keep the one they wait for from running. Thirty steps of dreambooth: 60 s spinning, 9 s asleep."""


class Children:
    """All alike but for what they are to do."""

    def __init__(self, settings: JobSettings, environment: Mapping[str, str]) -> None:
        """``environment``: where children find database and stores."""
        self._nice, self._environment = settings.nice, dict(environment)
        self.threads = settings.job_threads or max(1, available_cores() // max(1, settings.jobs))

    async def start(
        self, flags: Mapping[str, object], devices: Sequence[int], log: BinaryIO
    ) -> asyncio.subprocess.Process:
        """A worker with ``flags`` that sees the accelerators ``devices``. Raises OSError."""
        own = {
            "parent": os.getpid(),
            "nice": self._nice,
            "threads": self.threads,
            "device": "cuda" if devices else "cpu",
        }
        given = [part for name, value in {**flags, **own}.items() for part in (f"--{name}", str(value))]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.finetune.worker", *given),
            env={
                **_WAITING,
                **os.environ,
                **self._environment,
                **thread_variables(self.threads),
                "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices)),
            },
            stdin=asyncio.subprocess.PIPE,  # to be told that something is wanted of it
            stdout=log,
            stderr=log,
            # Its own session: Ctrl-C reaches the service alone, which then ends all in order.
            start_new_session=True,
        )


def resident_bytes(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
