"""Ways to serve the same requests, on any event loop: the dispatcher, and one request after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from services.common.metrics import Metrics
from services.diffusion.onnx.model import PixelModel
from services.diffusion.painting.painting import advance
from services.diffusion.planning import Plan
from services.diffusion.serving.dispatcher import Dispatcher
from services.diffusion.serving.job import Order
from tests.bench.images.arrivals import Arrivals, Figures

_MOST_IMAGES = 65536


class Server(Protocol):
    """Serves one request."""

    async def serve(self, steps: int) -> None:
        """Until its image is made."""

    async def close(self) -> None:
        """Nobody comes any more."""


class Shared:
    """Our dispatcher: requests share calls."""

    def __init__(self, model: PixelModel, plans: Mapping[int, Plan]) -> None:
        """``plans`` by their steps."""
        self.dispatcher = Dispatcher(Metrics("diffusion"), _MOST_IMAGES)
        self.dispatcher.start()
        self._orders = {
            steps: Order(model, each.starts, each.steps, each.calls, each.rows, each.shape)
            for steps, each in plans.items()
        }

    async def serve(self, steps: int) -> None:
        """As the servicer does."""
        async with self.dispatcher.submit(self._orders[steps]) as job:
            async for _ in job.events():
                pass

    async def close(self) -> None:
        """End its thread."""
        await self.dispatcher.close()


class InTurn:
    """One request at a time, in the order in which they come, as a loop behind a lock serves them."""

    def __init__(self, paint: Callable[[int], object]) -> None:
        """``paint`` makes an image in so many steps."""
        self._paint = paint
        self._lock = asyncio.Lock()
        self._worker = ThreadPoolExecutor(max_workers=1)

    async def serve(self, steps: int) -> None:
        """When all before it are done."""
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._paint, steps)

    async def close(self) -> None:
        """End its thread."""
        self._worker.shutdown()


def painter(model: PixelModel, plans: Mapping[int, Plan]) -> Callable[[int], None]:
    """Makes whole images by the model's own network."""

    def paint(steps: int) -> None:
        painting = plans[steps].starts[0](())
        while not painting.is_finished:
            advance([painting], model.denoiser)

    return paint


async def served(make: Callable[[], Server], arrivals: Arrivals) -> Figures:
    """How long the requests wait. ``make`` is called on the loop."""
    server, loop = make(), asyncio.get_running_loop()
    begin = loop.time()

    async def one(at: float, steps: int) -> float:
        await asyncio.sleep(begin + at - loop.time())
        await server.serve(steps)
        return loop.time() - begin

    ends = await asyncio.gather(*map(one, arrivals.times.tolist(), arrivals.steps))
    await server.close()
    return Figures.of(arrivals, np.array(ends))
