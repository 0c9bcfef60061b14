"""A batch function that tests can hold, and small helpers around a batcher."""

import asyncio
import threading
from contextlib import asynccontextmanager


class Gate:
    """A batch function that notes its batches and holds them while the gate is shut."""

    def __init__(self, *, shut=False, answer=lambda items: [item * 10 for item in items]):
        self.batches = []
        self._answer = answer
        self._open = threading.Event()
        self.entered = threading.Semaphore(0)
        if not shut:
            self.open()

    def open(self):
        self._open.set()

    def shut(self):
        self._open.clear()

    async def until_entered(self):
        await asyncio.to_thread(self.entered.acquire)

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self._open.wait(60)
        return self._answer(items)


async def settle():
    """Let the loop run everything that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, {"service": "test", **labels}) or 0.0


@asynccontextmanager
async def closing(batcher):
    try:
        yield batcher
    finally:
        await batcher.close()
