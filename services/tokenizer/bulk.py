"""Work in pieces, a bounded number of inputs at a time, with results in the order of the pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

PIECE = 512
"""Inputs tokenised and queued together: enough to sort by length, few enough to begin at once."""
PICTURES = 16
"""The same for models of pictures: one takes up to a second to read, and is much larger than a text's ids."""
_PIECES = 4
AT_WORK = _PIECES * PIECE
"""Inputs of one call that are tokenised, queued or running; meanwhile no more is read from the caller."""


async def in_pieces(
    source: AsyncIterator[Sequence[T]],
    work: Callable[[int, Sequence[T]], Awaitable[R]],
    size: int = PIECE,
) -> AsyncGenerator[R, None]:
    """Results of ``work(index of the first input, inputs)`` for what ``source`` gives, cut into pieces.

    An error of ``source`` or ``work`` ends everything and is raised here.
    """
    room = _Room(_PIECES * size)
    begun: asyncio.Queue[tuple[asyncio.Task[R], int] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[R]] = set()

    async def read() -> None:
        try:
            first = 0
            async for inputs in source:
                for start in range(0, len(inputs), size):
                    piece = inputs[start : start + size]
                    await room.take(len(piece))
                    task = asyncio.ensure_future(work(first + start, piece))
                    tasks.add(task)
                    begun.put_nowait((task, len(piece)))
                first += len(inputs)
        finally:
            begun.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (entry := await begun.get()) is not None:
            task, count = entry
            result = await task
            tasks.discard(task)
            room.give_back(count)
            yield result
        await reader
    finally:
        for each in (reader, *tasks):
            each.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)


async def once(inputs: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """A source of one list."""
    yield inputs


class _Room:
    """A bounded number of places. One piece always fits, however large."""

    def __init__(self, places: int) -> None:
        self._free = self._places = places
        self._given_back = asyncio.Event()

    async def take(self, count: int) -> None:
        """Wait for ``count`` places."""
        while self._free < min(count, self._places):
            self._given_back.clear()
            await self._given_back.wait()
        self._free -= count

    def give_back(self, count: int) -> None:
        """End the use of places."""
        self._free += count
        self._given_back.set()
