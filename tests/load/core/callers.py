"""Who makes the calls: an open loop that never waits for answers, and a closed loop of callers that do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

from tests.load.core.judging import judged
from tests.load.core.outcome import Kind, Marks, Outcome, Record, Verdict
from tests.load.core.schedule import Arrival, chosen

Call = Callable[[Marks], Awaitable[None]]
"""Makes one call and checks it. Raises what ``judged`` reads; returning means that all was right."""
Calls = Mapping[str, Call]


async def made(record: Record, name: str, call: Call, due: float, group: str = "") -> Outcome:
    """Make one call and keep what became of it."""
    marks, began = Marks(record), record.now()
    try:
        await call(marks)
        verdict = Verdict(Kind.OK)
    except Exception as error:
        verdict = judged(error)
    outcome = Outcome(
        name, group, due, began, record.now(), verdict, marks.first, tuple(marks.gaps), marks.tokens
    )
    record.add(outcome)
    return outcome


async def open_loop(
    record: Record, arrivals: Iterable[Arrival], calls: Calls, group: str = "", start: float = 0.0
) -> None:
    """Begin every arrival's call ``start`` seconds later than it says, whatever becomes of those before.

    Its latency counts from then, also where this process was too busy to begin in time. Returns when the
    last call has ended. Cancelling it cancels the calls.
    """
    async with asyncio.TaskGroup() as tasks:
        for arrival in arrivals:
            due = start + arrival.at
            await asyncio.sleep(max(0.0, due - record.now()))
            tasks.create_task(made(record, arrival.call, calls[arrival.call], due, group))


async def closed_loop(
    record: Record,
    callers: int,
    until: float,
    mix: Mapping[str, float],
    calls: Calls,
    *,
    seed: int = 0,
    group: str = "",
    pause: float | None = None,
) -> None:
    """``callers`` that each make their next call when the last one has ended, until ``until`` of the record.

    Who is refused waits as long as the refusal asks, or ``pause`` seconds where that is given.
    """

    async def caller(number: int) -> None:
        names = chosen(mix, random.Random(f"caller {number} {seed}"))
        while record.now() < until:
            name = next(names)
            outcome = await made(record, name, calls[name], record.now(), group)
            if outcome.kind not in (Kind.OK, Kind.CANCELLED):
                wait = pause if pause is not None else outcome.verdict.retry_after or FAILED_PAUSE
                await asyncio.sleep(min(wait, max(0.0, until - record.now())))

    async with asyncio.TaskGroup() as tasks:
        for number in range(callers):
            tasks.create_task(caller(number))


FAILED_PAUSE = 0.05
"""Seconds that a caller waits after a failure that names no time."""
