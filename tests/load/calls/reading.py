"""How a caller reads a stream: at once, slowly, or not to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.load.core.judging import Left


@dataclass(frozen=True)
class Reading:
    """What a scenario may say of a stream's reader."""

    pause: float = 0.0
    """Seconds that the reader sleeps after each message."""
    leave_after: float = 0.0
    """Seconds after which it cancels the call; 0: it stays."""

    def only_if(self, streams: bool) -> None:
        """Raises ValueError where a scenario says how to read what is no stream by gRPC."""
        if not streams and self != Reading():
            raise ValueError("reading: only streams by gRPC are read slowly or left")

    async def of(self, call: Any) -> AsyncIterator[Any]:
        """The messages of a gRPC call. Raises Left when it is time to leave; cancels it in any case."""
        end = asyncio.get_running_loop().time() + self.leave_after
        messages = aiter(call)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(end if self.leave_after else None) as patience:
                        message = await anext(messages)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not patience.expired():
                        raise
                    raise Left from None
                yield message
                if self.pause:
                    await asyncio.sleep(self.pause)
        finally:
            call.cancel()
