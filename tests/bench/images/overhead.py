"""What everything but the network costs in the serving loop: choosing, packing, walks, events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import uvloop

from services.diffusion.onnx.model import PixelModel
from tests.bench.images.crowd import plans_of
from tests.bench.images.servers import Shared
from tests.bench.report import Report

WAITING = (1, 4, 16)
"""Requests that come at once."""
STEPS = 10
TARGET = 0.02


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


def bench_overhead(model: PixelModel, report: Report) -> None:
    """CPU seconds of the process without those of the network. ``model`` has one thread."""
    metered = Metered(model.denoiser._plain)
    model.denoiser._plain = metered  # type: ignore[assignment]
    plans = plans_of(model)
    rows = []
    for waiting in WAITING:
        rest = uvloop.run(_crowd(model, plans, waiting, metered)) - metered.seconds
        share = rest / metered.seconds
        rows.append(
            (
                waiting,
                metered.calls,
                f"{metered.seconds / metered.calls * 1e3:.2f}",
                f"{rest / metered.calls * 1e3:.3f}",
                f"{share:.2%}",
            )
        )
        report.most(f"{waiting} requests at once: CPU of all but the network / of the network", share, TARGET)
    report.table(
        f"The serving loop, {STEPS} steps with guidance, one thread, CPU ms a call",
        ("requests", "calls", "network", "the rest", "share"),
        rows,
    )


async def _crowd(model: PixelModel, plans: Any, count: int, metered: Metered) -> float:
    """CPU seconds of the process from the first request to the last event, once all is warm."""
    server = Shared(model, plans)
    await server.serve(STEPS)
    metered.seconds, metered.calls = 0.0, 0
    since = time.process_time()
    await asyncio.gather(*[server.serve(STEPS) for _ in range(count)])
    taken = time.process_time() - since
    await server.close()
    return taken
