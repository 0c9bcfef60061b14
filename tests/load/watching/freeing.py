"""How soon work stops that nobody waits for any more: callers leave, or their deadline passes, in mid-work.

A service counts its engine steps. The last count that comes after the last caller has left is the end of the
work: of the step under way, and of those that began before the news had come through the gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx

from tests.load.calls.doors import Doors
from tests.load.calls.embed import Embed
from tests.load.calls.face import Face
from tests.load.calls.image import Image
from tests.load.calls.known import Known
from tests.load.calls.reading import Reading
from tests.load.calls.text import Text
from tests.load.core.callers import made
from tests.load.core.outcome import Kind, Record
from tests.load.scenario import UnusableError
from tests.load.watching.exposition import Page, read_page
from tests.load.watching.samples import at_work

CALLERS = 4
IN_WORK = 0.4
"""Seconds after which callers leave."""
ROUNDS = 3
"""The median one is told of."""
QUIET = 0.5
"""Seconds without a step after which work counts as over."""
PATIENCE = 20.0
_POLL = 0.004
_STEPS, _SECONDS = "pequod_compute_seconds_count", "pequod_compute_seconds_sum"

Long = Text | Embed | Face | Image
LONG: Mapping[str, Long] = {
    "sampler": Text(stream=True, tokens=480),
    "tokenizer": Embed(stream=True, texts=3000, words=24),
    "diffusion": Image(steps=50, quick=False),
    "gan": Face(frames=600),
}
"""A call of each service that takes far longer than IN_WORK."""


@dataclass(frozen=True)
class Freed:
    """What was seen of one service."""

    service: str
    how: str
    """cancel or deadline"""
    seconds: float
    """From when the last caller had left until the last step was counted, to the reading of one page."""
    step_seconds: float
    """Mean length of a step meanwhile."""
    gauges: float
    """What the gauges showed at the end: nothing may be at work."""

    @property
    def beyond(self) -> float:
        """Seconds that work went on beyond the one step that may have been under way."""
        return max(0.0, self.seconds - self.step_seconds)


async def measure(doors: Doors, pages: Mapping[str, str]) -> list[Freed]:
    """For each service whose page is at ``pages[service]``, both ways. Nothing else may call meanwhile."""
    found = []
    async with httpx.AsyncClient(trust_env=False) as client:
        for service in LONG:
            for how in ("cancel", "deadline"):
                if service in pages:
                    rounds = [await _one(doors, client, service, pages[service], how) for _ in range(ROUNDS)]
                    found.append(sorted(rounds, key=lambda each: each.beyond)[ROUNDS // 2])
    return found


async def _one(doors: Doors, client: httpx.AsyncClient, service: str, url: str, how: str) -> Freed:
    record, call = Record(), _leaving(LONG[service], how).call(doors, Known())
    begin = await _page(client, url)
    ended = await asyncio.gather(*[made(record, service, call, record.now()) for _ in range(CALLERS)])
    left = time.perf_counter()
    wanted = Kind.CANCELLED if how == "cancel" else Kind.LATE
    if any(outcome.kind is not wanted for outcome in ended):
        raise UnusableError(f"{service}, {how}: {[outcome.verdict for outcome in ended]}")
    last = await _page(client, url)
    stopped, deadline = left, left + PATIENCE
    while time.perf_counter() < min(stopped + QUIET, deadline):
        await asyncio.sleep(_POLL)
        page = await _page(client, url)
        if page.total(_STEPS) > last.total(_STEPS):
            stopped = time.perf_counter()
        last = page
    steps = max(1.0, last.total(_STEPS) - begin.total(_STEPS))
    mean = (last.total(_SECONDS) - begin.total(_SECONDS)) / steps
    return Freed(service, how, stopped - left, mean, at_work(last) or 0.0)


def _leaving(call: Long, how: str) -> Long:
    """``call`` as made by somebody who leaves in mid-work."""
    if how == "cancel":
        return replace(call, reading=Reading(leave_after=IN_WORK))
    return replace(call, timeout=IN_WORK)


async def _page(client: httpx.AsyncClient, url: str) -> Page:
    page = await read_page(client, url)
    if page is None:
        raise UnusableError(f"{url} does not answer")
    return page
