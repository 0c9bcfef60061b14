"""Runs a scenario against a platform."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import psutil

from tests.bench.gateway.rounds import busy_seconds
from tests.load.actions import Action, Event, done
from tests.load.calls.doors import Address, Doors
from tests.load.calls.known import Known
from tests.load.core.callers import Calls, closed_loop, made, open_loop
from tests.load.core.lag import LoopWatch, faults
from tests.load.core.outcome import Kind, Record
from tests.load.core.schedule import Stretch, arrivals
from tests.load.core.summary import summary
from tests.load.result import CLIENT, Machine, Result
from tests.load.scenario import Load, Phase, Scenario, UnusableError
from tests.load.watching import freeing
from tests.load.watching.exposition import read_page
from tests.load.watching.samples import Watched, at_work, watching

SETTLE_SECONDS = 15.0
_WARM_TRIES = 3


@dataclass(frozen=True)
class Target:
    """A platform to run against."""

    addresses: Mapping[str, Address]
    """Where each group calls, with its key."""
    watched: Mapping[str, Watched] = field(default_factory=dict)
    """Its processes; none of a platform that is not ours."""
    actions: Mapping[str, Action] = field(default_factory=dict)


@dataclass
class _Run:
    """One run under way."""

    scenario: Scenario
    calls: Mapping[str, Calls]
    """Of each group."""
    record: Record
    peak: float | None = None

    async def phases(self) -> None:
        """Run all phases; each begins on time, whatever is still under way from the one before."""
        spans = self.scenario.spans()
        async with asyncio.TaskGroup() as tasks:
            for number, phase in enumerate(self.scenario.phases):
                begin, end = spans[phase.name]
                for group, load in phase.load.items():
                    tasks.create_task(self._group(number, phase, group, load, begin))
                tasks.create_task(asyncio.sleep(end))

    async def _group(self, number: int, phase: Phase, group: str, load: Load, begin: float) -> None:
        body, calls = self.scenario.groups[group], self.calls[group]
        seed = self.scenario.seed * 1000 + number
        if load.callers:
            await asyncio.sleep(begin - self.record.now())
            until = begin + phase.seconds
            await closed_loop(
                self.record, load.callers, until, body.mix, calls, seed=seed, group=group, pause=body.pause
            )
            return
        rate = load.rate or load.share * (self.peak or 0.0)
        due = arrivals([Stretch(rate, phase.seconds)], body.mix, seed)
        await open_loop(self.record, due, calls, group, start=begin)


async def run(scenario: Scenario, target: Target) -> Result:
    """Run it. Raises UnusableError where the platform does not answer at all."""
    async with contextlib.AsyncExitStack() as stack:
        known, doors = Known(), {}
        for group, address in target.addresses.items():
            doors[group] = await stack.enter_async_context(Doors(address))
        calls = {
            group: {name: kind.call(each, known) for name, kind in scenario.calls.items()}
            for group, each in doors.items()
        }
        await _warm(scenario, calls)
        peak = await _capacity(scenario, calls)
        result = await _measured(scenario, target, calls, peak)
        result.running_at_end = await _settled(target)
        if scenario.measure_freeing:
            pages = {name: each.metrics for name, each in target.watched.items()}
            result.freed = await freeing.measure(next(iter(doors.values())), pages)
    result.held = [rule.judge(result.look) for rule in scenario.rules]
    return result


async def _measured(
    scenario: Scenario, target: Target, calls: Mapping[str, Calls], peak: float | None
) -> Result:
    watched = {**target.watched, CLIENT: Watched(psutil.Process, "")}
    async with watching(watched) as sampling:
        # From here on calls are due: what takes long in this process has to be over.
        record, ticks = Record(), LoopWatch()
        run_of = _Run(scenario, calls, record, peak)
        busy = busy_seconds()
        async with sampling(record), ticks.watching(record):
            acting = asyncio.create_task(_act(scenario, target.actions, record))
            await run_of.phases()
            events = await acting
    lasted = record.now()
    ours = sum(each.cpu_between(0.0, lasted) for each in watched.values())
    machine = Machine(
        cores=psutil.cpu_count() or 1,
        foreign=max(0.0, busy_seconds() - busy - ours) / lasted,
        python=platform.python_version(),
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    wrong = faults(record.outcomes, ticks, scenario.allowed_lag) + _overdue(scenario, events)
    return Result(scenario, record.outcomes, scenario.spans(), watched, machine, peak, events, wrong)


async def _act(scenario: Scenario, actions: Mapping[str, Action], record: Record) -> list[Event]:
    begins = {name: begin for name, (begin, _) in scenario.spans().items()}
    planned = sorted(scenario.actions, key=lambda each: begins[each.phase] + each.at)
    return [await done(record, each, begins[each.phase] + each.at, actions[each.do]) for each in planned]


def _overdue(scenario: Scenario, events: Sequence[Event]) -> list[str]:
    """Actions that outlasted their phase, so that the next one was not what the scenario says."""
    ends = {name: end + scenario.allowed_lag for name, (_, end) in scenario.spans().items()}
    return [
        f"{event.what} was over at {event.at + event.took:.0f} s, after the phase {event.phase!r}"
        for event in events
        if event.at + event.took > ends[event.phase]
    ]


async def _warm(scenario: Scenario, calls: Mapping[str, Calls]) -> None:
    """Make every call alone, so that models are loaded and the first answers known."""
    record = Record()
    for group, body in scenario.groups.items():
        for name in body.mix:
            for _ in range(_WARM_TRIES):
                outcome = await made(record, name, calls[group][name], record.now(), group)
                if outcome.kind in (Kind.OK, Kind.CANCELLED, Kind.LATE):
                    break
                await asyncio.sleep(outcome.verdict.retry_after or 0.5)
            else:
                raise UnusableError(f"{name} of {group}, made alone: {outcome.verdict}")


async def _capacity(scenario: Scenario, calls: Mapping[str, Calls]) -> float | None:
    """The most right answers a second of callers who wait for them; None where the scenario does not ask.

    Raises UnusableError where there are none.
    """
    if scenario.capacity is None:
        return None
    group, seconds = scenario.capacity.group, scenario.capacity.seconds
    found = []
    for callers in scenario.capacity.callers:
        record, mix = Record(), scenario.groups[group].mix
        await closed_loop(record, callers, seconds, mix, calls[group], group=group)
        # The calls that end late lengthen the time they are counted by.
        found.append(summary(record.outcomes, record.now()).goodput)
    if not max(found, default=0.0):
        raise UnusableError(f"nobody of {group} got a right answer while the capacity was measured")
    return max(found)


async def _settled(target: Target) -> float | None:
    """What is still at work in all processes, when nothing changes any more. None without pages."""
    pages = [each.metrics for each in target.watched.values() if each.metrics]
    left: float | None = None
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(int(SETTLE_SECONDS / 0.25)):
            works = [at_work(await read_page(client, url)) for url in pages]
            left = sum(work for work in works if work is not None) if works else None
            if not left:
                break
            await asyncio.sleep(0.25)
    return left
