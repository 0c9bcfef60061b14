"""Wall and CPU seconds of a training's steps: alone in a process of its own, and inside a job.

``python -m tests.bench.finetune.steps FOLDER STEPS PARAMETERS NICE`` trains alone and prints both as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from services.common.threads import thread_variables
from services.finetune.recipes.watching import Alone

_SAMPLES = 0.05
"""Seconds between two looks at a worker's CPU time."""


@dataclass(frozen=True)
class Step:
    """Milliseconds of one."""

    wall: float
    cpu: float


class _Steps(Alone):
    """When each step was done, on the clock and on the CPU."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def wants_stop(self) -> bool:
        """Asked after every step."""
        self.times.append((time.perf_counter(), time.process_time()))
        return False


def alone(data: bytes, steps: int, parameters: Mapping[str, object], nice: int, folder: Path) -> Step:
    """A step of a process that does nothing else, with the priority and the threads of a job."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/book.txt").write_bytes(data)
    flags = [str(folder), str(steps), json.dumps(parameters), str(nice)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.finetune.steps", *flags],
        env={**os.environ, **thread_variables(1), "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return Step(**json.loads(done.stdout))


@dataclass
class WorkerClock:
    """CPU seconds of a job's worker, looked at again and again while ``follow`` runs."""

    job_id: str
    samples: list[tuple[float, float]] = field(default_factory=list)

    async def follow(self) -> None:
        """Until the worker is gone; it has to be a child of this process."""
        while (worker := self._worker()) is None:
            await asyncio.sleep(_SAMPLES)
        try:
            while worker.status() != psutil.STATUS_ZOMBIE:
                used = worker.cpu_times()
                self.samples.append((time.time(), used.user + used.system))
                await asyncio.sleep(_SAMPLES)
        except psutil.NoSuchProcess:
            return

    def between(self, start: float, end: float) -> float:
        """CPU seconds from ``start`` to ``end``, seconds since 1970."""
        times, used = zip(*self.samples, strict=True)
        first, last = np.interp([start, end], times, used)
        return float(last - first)

    def _worker(self) -> psutil.Process | None:
        children = psutil.Process().children()
        return next((each for each in children if self.job_id in each.cmdline()), None)


def main() -> None:
    """Train, print."""
    from services.finetune.recipes import pretrain_lm
    from services.finetune.recipes.task import Task

    folder, steps, parameters, nice = sys.argv[1:]
    os.nice(int(nice))
    clock = _Steps()
    work = Path(folder)
    task = Task(
        work / "work", work / "data", parameters=json.loads(parameters), steps=int(steps), device="cpu"
    )
    pretrain_lm.run(task, clock)
    (wall, cpu), (wall_end, cpu_end) = clock.times[0], clock.times[-1]
    count = len(clock.times) - 1
    step = {"wall": (wall_end - wall) / count * 1e3, "cpu": (cpu_end - cpu) / count * 1e3}
    sys.stdout.write(json.dumps(step))


if __name__ == "__main__":
    main()
