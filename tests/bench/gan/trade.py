"""One pass or many: an image by the GAN and by the diffusion model, both at 32 pixels."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from services.gan.planning import Setting, seeded
from services.gan.requests import usual
from tests.bench.gan.model import SMALL, opened
from tests.bench.images.model import Opened, planned
from tests.bench.images.whole import paint
from tests.bench.report import Report

STEPS = (20, 4)


def bench_trade(models: Path, threads: int, repeats: int, report: Report) -> None:
    """Milliseconds of one image, medians of interleaved repeats, with CPU time."""
    gan = opened(SMALL, threads, 1)
    draft = Setting.of(gan.traits, usual()).single(seeded(7))
    diffusion = Opened(models, threads).model()
    ways: dict[str, Callable[[], object]] = {"GAN, one pass (random weights)": partial(gan.draw, [draft])}
    for steps in STEPS:
        ways[f"diffusion, {steps} steps with guidance"] = partial(paint, diffusion, planned(diffusion, steps))
        ways[f"diffusion, {steps} steps without"] = partial(paint, diffusion, planned(diffusion, steps, 1.0))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            if repeat:  # the first one warms up
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: np.median(times, axis=0) * 1e3 for name, times in taken.items()}
    base = next(iter(medians.values()))[0]
    report.table(
        f"An image of 32 x 32 pixels, bare engines, {threads} thread(s), medians of {repeats} repeats",
        ("", "ms", "CPU ms", "times the GAN's"),
        [(name, f"{wall:.1f}", f"{cpu:.1f}", f"{wall / base:.0f}") for name, (wall, cpu) in medians.items()],
    )
