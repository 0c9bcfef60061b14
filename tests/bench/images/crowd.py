"""Many requests: our dispatcher beside request-at-a-time serving, in real and in virtual time.

In real time neighbours on the machine decide as much as the servers do, and a run of some minutes is far from
steady at 0.9 of capacity. So targets are judged in virtual time: the length of calls is measured, and the
dispatcher itself, its event loop and its walks serve long runs by a clock that goes forward by those lengths.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from services.diffusion.engine import Prompts, Question
from services.diffusion.onnx.model import PixelModel
from services.diffusion.planning import Plan
from tests.bench.children import Child, Nursery, Peer
from tests.bench.images.arrivals import STEPS, Arrivals, Figures, capacity, fewest_rows, poisson
from tests.bench.images.model import PROMPT, SIDE, planned
from tests.bench.images.servers import InTurn, Server, Shared, painter, served
from tests.bench.images.virtual import Clock, TimedDenoiser, run
from tests.bench.report import Report

LOOP = Peer("diffusers, a loop behind a lock", "images_torch.py", ("diffusers",))
OURS, FIFO = "ours, steps shared", "the same network, one request at a time"
LOAD, OVERLOAD = 0.9, 2.0
MEAN_GAIN, P95_GAIN, OVERLOAD_GAIN = 1.5, 1.0, 1.1

_ROWS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
_LOOP_STEPS = 4
_SMALL = 4
"""Pixels a side in virtual time: their numbers mean nothing there."""


@dataclass(frozen=True)
class Sizes:
    """How much is served. ``real`` requests in real time; ``seeds`` runs of ``virtual`` by the clock."""

    real: int
    virtual: int
    seeds: int
    overload: int
    repeats: int


@dataclass(frozen=True)
class Lengths:
    """Seconds that an idle core would take: the CPU seconds of one thread."""

    calls: Mapping[int, float]
    """Of a call of our network, by rows."""
    loop_step: float | None
    """Of a step of diffusers' loop; None where it does not run."""


def bench_crowd(
    model: PixelModel, nursery: Nursery, folder: Path, threads: int, sizes: Sizes, report: Report
) -> None:
    """Poisson arrivals below capacity, and more than can be served."""
    with nursery.children([LOOP], folder, threads) as children:
        loop = children[0] if children else None
        lengths = measured(model, loop, sizes.repeats)
        _show_lengths(lengths, report)
        _virtual(model, lengths, sizes, report)
        if sizes.real:
            _real(model, loop, lengths, sizes, report)


def measured(model: PixelModel, loop: Child | None, repeats: int) -> Lengths:
    """Medians over interleaved repeats."""
    text = model.read(Prompts(PROMPT), SIDE, SIDE, 1.0).told
    sample = np.random.default_rng(1).standard_normal((3, SIDE, SIDE), np.float32)
    question = Question(sample, 500.0, text)
    taken: dict[int, list[float]] = {rows: [] for rows in _ROWS}
    steps: list[float] = []
    if loop is not None:
        loop.keep("few", [[_LOOP_STEPS]])
    for _ in range(repeats):
        for rows, each in taken.items():
            since = time.process_time()
            model.denoiser.predict([question] * rows)
            each.append(time.process_time() - since)
        if loop is not None:
            steps.append(loop.run("few")[1] / _LOOP_STEPS)
    medians = {rows: float(np.median(each)) for rows, each in taken.items()}
    return Lengths(medians, float(np.median(steps)) if steps else None)


def virtual_figures(model: PixelModel, lengths: Lengths, rows: int, arrivals: Arrivals) -> dict[str, Figures]:
    """Everyone serves the same requests by the clock."""
    figures = {}
    small = dataclasses.replace(model.traits, width=_SMALL, height=_SMALL, multiple=_SMALL, largest=_SMALL)
    for name, calls, most in _servers(lengths, rows):
        clock = Clock()
        timed = TimedDenoiser(clock, calls, most)
        stand_in: PixelModel = dataclasses.replace(model, traits=small, denoiser=timed)  # type: ignore[arg-type]
        plans = plans_of(stand_in)
        figures[name] = run(clock, served(_maker(name, stand_in, plans), arrivals))
    return figures


def plans_of(model: PixelModel) -> dict[int, Plan]:
    """With guidance, by their steps."""
    return {steps: planned(model, steps) for steps in sorted(set(STEPS))}


def _servers(lengths: Lengths, rows: int) -> list[tuple[str, Mapping[int, float], int]]:
    servers = [(OURS, lengths.calls, rows), (FIFO, lengths.calls, 2)]
    if lengths.loop_step is not None:
        servers.append((LOOP.name, {2: lengths.loop_step}, 2))
    return servers


def _maker(name: str, model: PixelModel, plans: Mapping[int, Plan]) -> Callable[[], Server]:
    if name == OURS:
        return lambda: Shared(model, plans)
    return lambda: InTurn(painter(model, plans))


def _virtual(model: PixelModel, lengths: Lengths, sizes: Sizes, report: Report) -> None:
    rows = fewest_rows({each: seconds for each, seconds in lengths.calls.items() if each in (1, 2, 4, 8, 16)})
    rate = capacity(lengths.calls[2])
    title = f"Virtual time, calls of at most {rows} rows as the profile's rule has it, requests of"
    title += f" {'/'.join(map(str, STEPS))} steps with guidance"
    for load, count in ((LOAD, sizes.virtual), (OVERLOAD, sizes.overload)):
        runs = [
            virtual_figures(model, lengths, rows, poisson(count, load * rate, seed))
            for seed in range(sizes.seeds)
        ]
        medians = {name: Figures.median([each[name] for each in runs]) for name in runs[0]}
        where = f"{load:g} of the capacity of one at a time, {count} requests, medians of {sizes.seeds} runs"
        show(f"{title}; {where}", medians, report)
        if lengths.loop_step is not None and load * rate > (own := capacity(lengths.loop_step)):
            report.say(f"{LOOP.name} alone could serve {own:.2f} requests/s: its waits grow with the run")
        gains = [_gains(each) for each in runs]
        mean, p95, throughput = np.median(gains, axis=0)
        what = f"virtual time, {load:g} of capacity"
        if load < 1:
            report.least(f"{what}: mean latency, better by", mean, MEAN_GAIN)
            report.least(f"{what}: p95, better by", p95, P95_GAIN)
        else:
            report.least(f"{what}: throughput, better by", throughput, OVERLOAD_GAIN)


def _real(model: PixelModel, loop: Child | None, lengths: Lengths, sizes: Sizes, report: Report) -> None:
    """The same by the wall clock; nothing is judged by it."""
    plans = plans_of(model)
    arrivals = poisson(sizes.real, LOAD * capacity(lengths.calls[2]), 0)
    makers: dict[str, Callable[[], Server]] = {
        OURS: lambda: Shared(model, plans),
        FIFO: lambda: InTurn(painter(model, plans)),
    }
    if loop is not None:
        makers[LOOP.name] = lambda: InTurn(lambda steps: _ask(loop, steps))
    figures = {name: uvloop.run(served(make, arrivals)) for name, make in makers.items()}
    show(
        f"Real time, {LOAD:g} of that capacity, {sizes.real} requests, calls of at most "
        f"{model.denoiser.rows} rows as the profile at loading found; not judged, see above",
        figures,
        report,
    )


def _ask(loop: Child, steps: int) -> None:
    loop.keep("one", [[steps]])
    loop.run("one")


def _gains(figures: Mapping[str, Figures]) -> tuple[float, float, float]:
    ours, fifo = figures[OURS], figures[FIFO]
    return fifo.mean / ours.mean, fifo.p95 / ours.p95, ours.throughput / fifo.throughput


def _show_lengths(lengths: Lengths, report: Report) -> None:
    report.table(
        "Lengths of calls, CPU ms of one thread",
        ("rows", "ms", "ms a row"),
        [(rows, f"{each * 1e3:.1f}", f"{each * 1e3 / rows:.2f}") for rows, each in lengths.calls.items()],
    )
    if lengths.loop_step is not None:
        report.say(f"A step of {LOOP.name}: {lengths.loop_step * 1e3:.1f} ms (2 rows)")


def show(title: str, figures: Mapping[str, Figures], report: Report) -> None:
    """A table of servers."""
    ours = figures[OURS]
    report.table(
        title,
        ("", "mean s", "p95 s", "requests/s", "mean / ours", "p95 / ours", "ours / its throughput"),
        [
            (
                name,
                *(f"{value:.2f}" for value in (each.mean, each.p95, each.throughput)),
                *(f"{value:.2f}" for value in (each.mean / ours.mean, each.p95 / ours.p95)),
                f"{ours.throughput / each.throughput:.2f}",
            )
            for name, each in figures.items()
        ],
    )
