"""Streams that are cancelled when they are left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

Reply = TypeVar("Reply")
Item = TypeVar("Item")

Failure = Callable[[], Exception | None]


def _none() -> None:
    return None


class Stream(Generic[Reply, Item], Iterator[Item]):
    """What ``read`` takes from each reply of ``call``, one thing after the other.

    ``failure`` gives what went wrong with the caller's own requests; it is raised where the call ends.
    Leaving its ``with`` block cancels the call, and so does letting go of the last reference to it.
    """

    def __init__(
        self, call: Iterator[Reply], read: Callable[[Reply], Iterable[Item]], failure: Failure = _none
    ) -> None:
        self._call = call
        self._read = read
        self._failure = failure
        self._items: Iterator[Item] = iter(())
        self.last: Reply | None = None
        """The newest reply; at the end it holds usage and, for text, the finish reason."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while True:
            for item in self._items:
                return item
            self.last = self._reply()
            self._items = iter(self._read(self.last))

    def _reply(self) -> Reply:
        try:
            return next(self._call)
        except Exception:
            if (error := self._failure()) is not None:
                raise error from None
            raise

    def cancel(self) -> None:
        """End the call; the server stops within one step. Cancelling an ended call does nothing."""
        cast(Any, self._call).cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class AsyncStream(Generic[Reply, Item], AsyncIterator[Item]):
    """The same over asyncio. Use ``async with``: a call of grpc.aio lives on when it is only let go."""

    def __init__(
        self, call: AsyncIterator[Reply], read: Callable[[Reply], Iterable[Item]], failure: Failure = _none
    ) -> None:
        self._call = call
        self._read = read
        self._failure = failure
        self._items: Iterator[Item] = iter(())
        self.last: Reply | None = None
        """The newest reply; at the end it holds usage and, for text, the finish reason."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            for item in self._items:
                return item
            self.last = await self._reply()
            self._items = iter(self._read(self.last))

    async def _reply(self) -> Reply:
        try:
            return await anext(self._call)
        except Exception:
            if (error := self._failure()) is not None:
                raise error from None
            raise

    def cancel(self) -> None:
        """End the call; the server stops within one step. Cancelling an ended call does nothing."""
        cast(Any, self._call).cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
