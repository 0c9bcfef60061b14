"""A server that never was: calls in virtual time, so that no test waits."""

from __future__ import annotations

import asyncio
import heapq


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer, and so runs a minute in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def busy(self, seconds: float) -> None:
        """Let time pass with nothing running, as a long computation in this process does."""
        self._virtual += seconds

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            while self._scheduled and self._scheduled[0]._cancelled:
                heapq.heappop(self._scheduled)._scheduled = False
            if self._scheduled:
                self._virtual = max(self._virtual, self._scheduled[0]._when)
        super()._run_once()


class StalledServer:
    """Answers one call after the other in ``service`` seconds each, none from ``stall`` to ``resume``."""

    def __init__(self, service: float, stall: float, resume: float) -> None:
        self._service = service
        self._stall, self._resume = stall, resume
        self._free = 0.0

    async def __call__(self, marks) -> None:
        loop = asyncio.get_running_loop()
        begin = max(self._free, loop.time())
        if self._stall <= begin < self._resume:
            begin = self._resume
        self._free = begin + self._service
        await asyncio.sleep(self._free - loop.time())
