"""The parts of bench_lm about waiting: the first token after a known beginning; a long prompt that comes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.lm.service import Service, Stub
from tests.bench.lm.shapes import WINDOW, Shape
from tests.bench.lm.workload import Request, ids
from tests.bench.report import Report

SHARED, OWN = 200, 16
"""Tokens of a beginning that prompts share, and of what each has of its own."""
STREAMS, BEFORE = 8, 8
"""Streams that run when the long prompt comes, and tokens that each has by then."""
LONG = WINDOW - 64


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    firsts: int
    """Pairs of a cold and a warm request."""
    written: int
    """Tokens of each running stream."""
    rounds: int
    """Pairs of a run with a long prompt and one without."""


def bench_first_token(service: Service, shape: Shape, sizes: Sizes, report: Report) -> None:
    """Time to the first token: a prompt nobody asked before, then its beginning with another end."""
    chance = np.random.default_rng(3)
    cold: list[float] = []
    warm: list[float] = []

    async def pairs(stub: Stub) -> None:
        for _ in range(sizes.firsts):
            shared = ids(shape.vocabulary, SHARED, chance)
            for taken in (cold, warm):
                prompt = shared + ids(shape.vocabulary, OWN, chance)
                times = await _times(service, stub, {"prompt": prompt, "count": 1})
                taken.append(times[1] - times[0])

    service.call(pairs)
    rows = [
        (name, f"{statistics.median(times) * 1e3:.1f}", f"{max(times) * 1e3:.1f}")
        for name, times in (("beginning new", cold), ("beginning known", warm))
    ]
    title = f"{shape.title}: first token of {SHARED} shared + {OWN} own tokens, {sizes.firsts} pairs"
    report.table(title, ("", "median ms", "longest ms"), rows)
    ratio = statistics.median(cold) / statistics.median(warm)
    report.least(f"{shape.title}: first token, cold / known beginning", ratio, 4.0)


def bench_arrival(service: Service, shape: Shape, sizes: Sizes, report: Report) -> None:
    """Time between the tokens of running streams, with a long prompt arriving and without."""
    chance = np.random.default_rng(4)
    alone: list[np.ndarray] = []
    joined: list[np.ndarray] = []
    firsts: list[float] = []

    async def runs(stub: Stub) -> None:
        await _arrival(service, stub, shape, sizes.written, chance, long=0)
        for _ in range(sizes.rounds):
            alone.append((await _arrival(service, stub, shape, sizes.written, chance, long=0))[0])
            gaps, first = await _arrival(service, stub, shape, sizes.written, chance, long=LONG)
            joined.append(gaps)
            firsts.append(first)

    service.call(runs)
    control, arrival = _percentile(alone, 99), _percentile(joined, 99)
    rows = [
        (name, *(f"{_percentile(gaps, share) * 1e3:.1f}" for share in (50, 99, 100)))
        for name, gaps in (("without", alone), ("with a long prompt", joined))
    ]
    report.table(
        f"{shape.title}: time between tokens of {STREAMS} streams of {sizes.written} tokens, a prompt of "
        f"{LONG} tokens arriving, medians of {sizes.rounds} rounds",
        ("", "median ms", "p99 ms", "longest ms"),
        rows,
    )
    report.say(f"The long prompt's own first token came after {statistics.median(firsts) * 1e3:.0f} ms.")
    report.most(f"{shape.title}: p99 between tokens, with / without a long prompt", arrival / control, 2.0)


async def _arrival(
    service: Service, stub: Stub, shape: Shape, count: int, chance: np.random.Generator, long: int
) -> tuple[np.ndarray, float]:
    """Gaps between tokens of streams, and the time to the first token of a prompt of ``long`` tokens.

    It comes when all streams write; 0 means that none comes.
    """
    waiting = set(range(STREAMS))
    all_write = asyncio.Event()

    async def stream(number: int) -> list[float]:
        request: Request = {"prompt": ids(shape.vocabulary, 16, chance), "count": count}
        times = []
        async for reply in service.stream(stub, request):
            times += [time.perf_counter()] * len(reply.ids)
            if len(times) >= BEFORE:
                waiting.discard(number)
                if not waiting:
                    all_write.set()
        return times

    async def arriving() -> float:
        await all_write.wait()
        if not long:
            return 0.0
        times = await _times(service, stub, {"prompt": ids(shape.vocabulary, long, chance), "count": 1})
        return times[1] - times[0]

    long_prompt = asyncio.create_task(arriving())
    streams = await asyncio.gather(*[stream(number) for number in range(STREAMS)])
    first = await long_prompt
    return np.concatenate([np.diff(times[BEFORE:]) for times in streams]), first


async def _times(service: Service, stub: Stub, request: Request) -> list[float]:
    """When a request was sent, and when each of its tokens came."""
    times = [time.perf_counter()]
    async for reply in service.stream(stub, request):
        times += [time.perf_counter()] * len(reply.ids)
    return times


def _percentile(rounds: Sequence[np.ndarray], share: float) -> float:
    return float(np.median([np.percentile(gaps, share) for gaps in rounds]))
