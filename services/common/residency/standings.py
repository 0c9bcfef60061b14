"""Where every version stands in this process, for those who ask and those who watch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from services.common.residency.contract import Key, Standing, State
from services.common.store import Report


class Standings:
    """The table of standings. Used on one event loop; ``reporter`` carries progress over from threads."""

    def __init__(self) -> None:
        self._table: dict[Key, Standing] = {}
        self._watchers: dict[Key, list[_Watcher]] = {}

    def get(self, key: Key, default: Standing) -> Standing:
        """The standing of a version, or ``default`` when nothing has happened to it yet."""
        return self._table.get(key, default)

    def set(self, key: Key, standing: Standing) -> None:
        """Note a change and tell the watchers."""
        if self._table.get(key) != standing:
            self._table[key] = standing
            for watcher in self._watchers.get(key, ()):
                watcher.tell(standing)

    def reporter(self, key: Key) -> Report:
        """A callback for threads that shows how far a pull is."""
        loop = asyncio.get_running_loop()

        def report(done: int, total: int, message: str) -> None:
            loop.call_soon_threadsafe(self._progress, key, Standing(State.PULLING, done, total, message))

        return report

    async def watch(self, key: Key, default: Standing) -> AsyncGenerator[Standing, None]:
        """The standing now, then every change in order; of mere progress a slow watcher sees the latest."""
        watcher = _Watcher()
        watcher.tell(self.get(key, default))
        self._watchers.setdefault(key, []).append(watcher)
        try:
            while True:
                yield await watcher.next()
        finally:
            self._watchers[key].remove(watcher)
            if not self._watchers[key]:
                del self._watchers[key]

    def _progress(self, key: Key, standing: Standing) -> None:
        # A late report must not turn a finished pull back into a running one.
        current = self._table.get(key)
        if current is not None and current.state is State.PULLING:
            self.set(key, standing)


class _Watcher:
    """What one watcher has not seen yet."""

    def __init__(self) -> None:
        self._unseen: deque[Standing] = deque()
        self._some = asyncio.Event()

    def tell(self, standing: Standing) -> None:
        if self._unseen and self._unseen[-1].state is standing.state:
            self._unseen.pop()
        self._unseen.append(standing)
        self._some.set()

    async def next(self) -> Standing:
        while not self._unseen:
            self._some.clear()
            await self._some.wait()
        return self._unseen.popleft()
