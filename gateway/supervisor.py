"""Starts the platform's processes, restarts those that die, and ends them all together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.parent import end_with_parent
from services.common.rpc.process import BAD_START

FIRST_DELAY = 0.2  # seconds before the first restart
LONGEST_DELAY = 10.0
STABLE_AFTER = 30.0  # a process that ran this long starts over with the first delay
TERM_GRACE = 35.0  # seconds from SIGTERM to SIGKILL: the services' own 30 s grace and a margin


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep alive: its name, what it runs and the variables it gets on top of ours."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class BadStartError(Exception):
    """A process refused its settings; starting it again would not help."""


class Supervisor:
    """Keeps every process of a list running until told to stop.

    The first of the list ends first, so it should be the door (the gateway); the others end together.
    """

    def __init__(self, specs: Sequence[ProcessSpec], log_dir: Path, notify: Callable[[str], None]) -> None:
        self._specs = specs
        self._log_dir = log_dir
        self._notify = notify
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False
        self.restarts: dict[str, int] = {spec.name: 0 for spec in specs}

    def log_file(self, name: str) -> Path:
        """Where the process ``name`` writes its log."""
        return self._log_dir / f"{name}.log"

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set. Raises BadStartError when a process refuses its settings."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        keepers = [asyncio.create_task(self._keep(spec)) for spec in self._specs]
        stopper = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*keepers, stopper], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            await self._end_all()
            stopper.cancel()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(stopper, *keepers, return_exceptions=True)
        for task in done - {stopper}:
            task.result()

    async def _keep(self, spec: ProcessSpec) -> None:
        delay = FIRST_DELAY
        while True:
            started = time.monotonic()
            process = await self._start(spec)
            code = await process.wait()
            if self._stopping:
                return
            if code == BAD_START:
                raise BadStartError(f"{spec.name} cannot start: {self._last_line(spec.name)}")
            if time.monotonic() - started > STABLE_AFTER:
                delay = FIRST_DELAY
            self._notify(
                f"{spec.name} ended with {_describe(code)}; starting it again in {delay:g} s "
                f"(log: {self.log_file(spec.name)})"
            )
            self.restarts[spec.name] += 1
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    async def _start(self, spec: ProcessSpec) -> asyncio.subprocess.Process:
        with self.log_file(spec.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *spec.command,
                env={**os.environ, **spec.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session: Ctrl-C reaches the supervisor alone, which then ends all in order.
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._running[spec.name] = process
        return process

    async def _end_all(self) -> None:
        door, *others = (self._running.get(spec.name) for spec in self._specs)
        for each in ([door], others):
            await asyncio.gather(*[_end(one) for one in each if one is not None and one.returncode is None])

    def _last_line(self, name: str) -> str:
        lines = self.log_file(name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote no log"


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL to its whole group when it does not end in time."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(TERM_GRACE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
