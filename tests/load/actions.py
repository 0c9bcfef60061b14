"""What is done to a platform while calls run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import psutil

from services.common.catalogue import SERVICES
from tests.e2e.conftest import Platform
from tests.load.core.outcome import Record
from tests.load.scenario import Planned, UnusableError

Action = Callable[[str], Awaitable[None]]
"""Does something to the process of that name, and returns when the platform is ready again."""
DEEDS = ("restart", "kill")
PROCESSES = ("gateway", *(service.name for service in SERVICES))
_PATIENCE = 90.0


@dataclass(frozen=True)
class Event:
    """Something that was done."""

    at: float
    what: str
    """restart sampler"""
    took: float
    """Seconds until all services were ready again."""
    phase: str = ""
    """In which it was to be done."""


def module_of(process: str) -> str:
    """What the process's command line holds."""
    return process if process == "gateway" else f"services.{process}"


def actions_on(platform: Platform) -> Mapping[str, Action]:
    """What can be done to a platform of our own, whose supervisor starts anew what ends."""

    async def restart(process: str) -> None:
        await asyncio.to_thread(_end, platform, process, psutil.Process.terminate)

    async def kill(process: str) -> None:
        await asyncio.to_thread(_end, platform, process, psutil.Process.kill)

    return dict(zip(DEEDS, (restart, kill), strict=True))


def _end(platform: Platform, process: str, end: Callable[[psutil.Process], None]) -> None:
    victim = platform.child(module_of(process))
    end(victim)
    deadline = time.monotonic() + _PATIENCE
    while not _is_another(platform, process, victim) or not platform.ready():
        if time.monotonic() > deadline:
            raise UnusableError(f"{process} is not back after {_PATIENCE:g} s\n{platform.logs()}")
        time.sleep(0.05)


def _is_another(platform: Platform, process: str, victim: psutil.Process) -> bool:
    with contextlib.suppress(LookupError):
        return not victim.is_running() and platform.child(module_of(process)) != victim
    return False


async def done(record: Record, planned: Planned, at: float, action: Action) -> Event:
    """Do what is planned at ``at`` of the record's clock."""
    await asyncio.sleep(max(0.0, at - record.now()))
    begin = record.now()
    await action(planned.process)
    return Event(begin, f"{planned.do} {planned.process}", record.now() - begin, planned.phase)
