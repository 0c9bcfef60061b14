"""The run in some lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.load.core.outcome import Kind
from tests.load.core.summary import Summary
from tests.load.report.html import number
from tests.load.result import Result


def told(result: Result) -> str:
    """What a person at a terminal wants to know."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    scenario, machine = result.scenario, result.machine
    yield f"{scenario.name}: {scenario.about}"
    yield f"{machine.cores} cores, of which other programs took {machine.foreign:.2f}"
    if result.peak is not None:
        yield f"capacity {result.peak:.1f} right answers/s"
    yield ""
    yield f"{'':<26}{'due/s':>8}{'right/s':>9}{'p50 ms':>9}{'p99':>9}{'most':>9}  ended"
    yield _row("all", result.summary())
    for phase, group in itertools.product(result.spans, scenario.groups):
        found = result.summary(group, phase)
        if found.asked:
            yield _row(f"{phase}, {group}", found)
    yield ""
    yield from _processes(result)
    yield ""
    yield from _verdict(result)


def _processes(result: Result) -> Iterator[str]:
    cpu = [(name, result.cpu_per_call(name)) for name in result.watched]
    yield "CPU µs a call: " + ", ".join(f"{name} {number(used, 0)}" for name, used in cpu if used is not None)
    for event in result.events:
        yield f"{event.at:.1f} s: {event.what}, ready again after {event.took:.1f} s"
    for freed in result.freed:
        yield (
            f"{freed.service}, {freed.how}: work stopped after {1e3 * freed.seconds:.0f} ms, "
            f"a step takes {1e3 * freed.step_seconds:.1f} ms"
        )


def _verdict(result: Result) -> Iterator[str]:
    for fault in result.faults:
        yield f"INVALID  {fault}"
    words = {True: "holds", False: "BROKEN", None: "-"}
    for held in result.held:
        yield f"{words[held.held]:<9}{held.rule}   ({number(held.found, 2)}, limit {number(held.limit, 2)})"


def _row(name: str, found: Summary) -> str:
    kinds = ", ".join(f"{kind} {found.count(kind)}" for kind in Kind if found.count(kind))
    times = "".join(
        f"{number(1e3 * each):>9}" for each in (found.latency.p50, found.latency.p99, found.latency.most)
    )
    return f"{name:<26}{found.rate:>8.1f}{found.goodput:>9.1f}{times}  {kinds}"
