"""How long a call waited for its own caller: such time is not the service's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator

from gateway.call import Call, Metadata, Replies


class CallerWaits:
    """Stands between a call and its caller's side of it."""

    __slots__ = ("_replies", "_seconds", "_since")

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._seconds = 0.0
        self._since = 0.0
        """When the wait for the next request began; 0 while there is none."""

    @classmethod
    def of(cls, call: Call) -> CallerWaits | None:
        """Those of ``call`` from now on; None where one message goes each way: nobody waits in between."""
        method = call.method
        if not (method.request_streaming or method.response_streaming):
            return None
        waits = cls(call.replies)
        if method.response_streaming:
            call.replies = waits
        if not isinstance(call.request, bytes):
            call.request = waits._timed(call.request)
        return waits

    @property
    def seconds(self) -> float:
        """All waits so far, the present one too.

        A caller that owes both a request and the reading of a reply is waited for twice: then this is more
        than it should be, and the service has the benefit of it.
        """
        return self._seconds + (time.monotonic() - self._since if self._since else 0.0)

    async def begin(self, metadata: Metadata) -> None:
        """Pass it on."""
        await self._replies.begin(metadata)

    async def send(self, message: bytes) -> None:
        """Pass it on, and see how long the caller takes to have room for it."""
        began = time.monotonic()
        try:
            await self._replies.send(message)
        finally:
            self._seconds += time.monotonic() - began

    async def _timed(self, requests: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        following = aiter(requests)
        while True:
            self._since = time.monotonic()
            try:
                message = await anext(following)
            except StopAsyncIteration:
                return
            finally:
                self._seconds, self._since = self.seconds, 0.0
            yield message
