"""Calls of services for one request of a client's own protocol, each through the whole pipeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from gateway.call import Call, Metadata
from gateway.methods import Method, unknown_method
from gateway.pipeline import Proceed

T = TypeVar("T")
_PAGE = 1000
"""The most that lists allow."""


class Caller:
    """What doors of other protocols reach the services by."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        pipeline: Proceed,
        metadata: Metadata,
        request_id: str,
        remaining: float | None,
    ) -> None:
        """``remaining``: seconds for all calls together; None: as the policy has it."""
        self.request_id = request_id
        self.metadata = metadata
        self._methods, self._pipeline = methods, pipeline
        self._ends = None if remaining is None else time.monotonic() + remaining

    def within(self, seconds: float) -> Caller:
        """The same with at most ``seconds`` from now for all calls together."""
        left = seconds if self._ends is None else min(seconds, self._ends - time.monotonic())
        return Caller(self._methods, self._pipeline, self.metadata, self.request_id, left)

    async def one(self, path: str, request: Message) -> Any:
        """The reply of a unary method. Raises ServiceError or BackendError."""
        call = self._call(path, request, _Handover())
        await self._pipeline(call)
        return call.method.response_type.FromString(call.reply)

    async def every(self, path: str, request: Message, field: str) -> list[Any]:
        """All things of a list that comes in pages; ``field`` of a page holds them."""
        asked: Any = type(request)()
        asked.CopyFrom(request)
        asked.page_size = _PAGE
        found: list[Any] = []
        while True:
            page = await self.one(path, asked)
            found += getattr(page, field)
            asked.page_token = page.next_page_token
            if not asked.page_token:
                return found

    async def sent(self, path: str, requests: Iterable[Message]) -> Any:
        """The reply of a method that takes a stream of requests."""

        async def stream() -> AsyncGenerator[bytes, None]:
            for request in requests:
                yield request.SerializeToString()

        call = self._prepared(path, stream(), _Handover())
        await self._pipeline(call)
        return call.method.response_type.FromString(call.reply)

    async def many(self, path: str, request: Message) -> AsyncGenerator[Any, None]:
        """The replies of a streaming method as they come; closing it cancels the call.

        Raises ServiceError or BackendError, also after some of them.
        """
        replies = _Handover()
        call = self._call(path, request, replies)
        running = asyncio.create_task(self._through(call, replies))
        try:
            while (message := await replies.get()) is not None:
                yield call.method.response_type.FromString(message)
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _through(self, call: Call, replies: _Handover) -> None:
        try:
            await self._pipeline(call)
        finally:
            replies.end()

    def _call(self, path: str, request: Message, replies: _Handover) -> Call:
        return self._prepared(path, request.SerializeToString(), replies)

    def _prepared(self, path: str, request: bytes | AsyncIterable[bytes], replies: _Handover) -> Call:
        method = self._methods.get(path)
        if method is None:
            raise unknown_method(path, self._methods)
        remaining = None if self._ends is None else self._ends - time.monotonic()
        return Call(method, self.metadata, request, remaining, replies)


class _Handover:
    """Replies, one at a time: the backend is read only as fast as the caller reads."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)

    async def begin(self, metadata: Metadata) -> None:
        """A backend's own metadata stays behind."""

    async def send(self, message: bytes) -> None:
        """Hand one over, once the one before was taken."""
        await self._room.acquire()
        self._messages.put_nowait(message)

    def end(self) -> None:
        """There are no more."""
        self._messages.put_nowait(None)

    async def get(self) -> bytes | None:
        """The next one; None after the last."""
        message = await self._messages.get()
        self._room.release()
        return message


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them at the same time; one error ends them all."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
