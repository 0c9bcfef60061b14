"""What everything but the network costs in the serving loop: choosing, packing, walks, events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import uvloop

from services.diffusion.onnx.denoiser import OUTPUT
from services.diffusion.onnx.model import PixelModel
from tests.bench.images.crowd import plans_of
from tests.bench.images.servers import Shared
from tests.bench.report import Report

WAITING = (1, 4, 16)
"""Requests that come at once."""
STEPS = 10
TARGET = 0.02
_REPEATS = 5


class Metered:
    """A runtime that adds up its own CPU seconds. With one thread it works in the caller's thread alone."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.seconds = 0.0
        self.calls = 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As the runtime."""
        since = time.thread_time()
        said: dict[str, np.ndarray] = self._runtime.run(feeds)
        self.seconds += time.thread_time() - since
        self.calls += 1
        return said

    def close(self) -> None:
        """Let go of it."""
        self._runtime.close()


class Instant:
    """A network that says nothing at once: with it the loop runs from warm caches, and never waits."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Zeros."""
        return {OUTPUT: np.zeros_like(feeds["sample"])}

    def close(self) -> None:
        """Nothing is open."""


def bench_overhead(model: PixelModel, report: Report) -> None:
    """CPU seconds of the process without those of the network. ``model`` has one thread."""
    plans = plans_of(model)
    network, instant = Metered(model.denoiser._plain), Metered(Instant())
    rows = []
    for waiting in WAITING:
        rest = {each: _rest(model, plans, waiting, each) for each in (instant, network)}
        share = rest[network] * network.calls / network.seconds
        rows.append(
            (
                waiting,
                network.calls,
                f"{network.seconds / network.calls * 1e3:.2f}",
                f"{rest[network] * 1e3:.3f}",
                f"{rest[instant] * 1e3:.3f}",
                f"{share:.2%}",
            )
        )
        report.most(f"{waiting} requests at once: CPU of all but the network / of the network", share, TARGET)
    report.table(
        f"The serving loop, {STEPS} steps with guidance, one thread, CPU ms a call",
        ("requests", "calls", "network", "the rest", "the rest, network instant", "share"),
        rows,
    )


def _rest(model: PixelModel, plans: Any, count: int, metered: Metered) -> float:
    """CPU seconds a call of all but the network, the median of some crowds."""
    model.denoiser._plain = metered  # type: ignore[assignment]
    return float(np.median([uvloop.run(_crowd(model, plans, count, metered)) for _ in range(_REPEATS)]))


async def _crowd(model: PixelModel, plans: Any, count: int, metered: Metered) -> float:
    """The same of one crowd, from the first request to the last event, once all is warm."""
    server = Shared(model, plans)
    await server.serve(STEPS)
    metered.seconds, metered.calls = 0.0, 0
    since = time.process_time()
    await asyncio.gather(*[server.serve(STEPS) for _ in range(count)])
    rest = time.process_time() - since - metered.seconds
    await server.close()
    return rest / metered.calls
