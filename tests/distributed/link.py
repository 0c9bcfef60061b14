"""A TCP connection on its way through this process: slower than it was, or cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

_CHUNK = 64 * 1024


class Link:
    """Listens on an address of its own and passes each connection on to the next of ``targets``.

    ``targets`` may change while it runs: connections stay where they are. So may ``delay``, the seconds
    that every byte is late, in each direction.
    """

    def __init__(self, targets: list[tuple[str, int]], host: str = "127.0.0.1", delay: float = 0.0) -> None:
        self.targets, self.delay, self.port = targets, delay, 0
        self._host, self._taken = host, 0
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    @property
    def address(self) -> str:
        """host:port to connect to in place of the target's; the same one after ``mend``."""
        return f"{self._host}:{self.port}"

    def cut(self) -> None:
        """Connections end, and new ones are refused."""
        self._do(self._cut())

    def mend(self) -> None:
        """Connections are taken again."""
        self._do(self._listen())

    def close(self) -> None:
        """Cut, and let go of the thread."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._next())
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pour(reader, back))
                both.create_task(self._pour(there, writer))
        except* OSError:
            pass
        finally:
            for each in (back, writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    def _next(self) -> tuple[str, int]:
        targets = list(self.targets)
        if not targets:
            raise ConnectionRefusedError("nobody is there")
        self._taken += 1
        return targets[self._taken % len(targets)]

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every piece leaves ``delay`` after it came, however many are on the way."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1000)
        async with asyncio.TaskGroup() as both:
            both.create_task(_deliver(due, writer))
            while data := await reader.read(_CHUNK):
                await due.put((self._loop.time() + self.delay, data))
            await due.put((self._loop.time() + self.delay, b""))


async def _deliver(due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while True:
        when, data = await due.get()
        await asyncio.sleep(max(0.0, when - loop.time()))
        if not data:
            with contextlib.suppress(OSError):
                writer.write_eof()
            return
        writer.write(data)
        await writer.drain()
