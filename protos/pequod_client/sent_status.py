"""The status that a server sent, kept from grpc.aio, which may replace it.

A server may end a call while a request of a stream is being written to it. grpc.aio (seen in 1.85) then
sets the call's status twice: to what the server sent, and to INTERNAL "Internal error from Core" for the
write that failed, without the server's metadata. The first is the one that tells the cause.
"""

from __future__ import annotations

from typing import Any

import grpc
from grpc import aio


class SentStatus:
    """Watches one grpc.aio call of any arity."""

    def __init__(self, call: Any) -> None:
        self._first: aio.AioRpcError | None = None
        call.add_done_callback(self._keep)

    def instead_of(self, error: aio.AioRpcError) -> aio.AioRpcError:
        """The error that the server sent, where grpc.aio raised its own ``error`` for it; else ``error``."""
        if error.code() is not grpc.StatusCode.INTERNAL or self._first is None:
            return error
        return self._first

    def _keep(self, call: Any) -> None:
        """Called by grpc.aio each time that the status is set, before anybody can set it again."""
        code = _known(call.code())
        if self._first is None and code is not grpc.StatusCode.OK:
            self._first = aio.AioRpcError(
                code,
                _known(call.initial_metadata()),
                _known(call.trailing_metadata()),
                _known(call.details()),
            )


def _known(answer: Any) -> Any:
    """What a coroutine gives that has nothing left to wait for."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    answer.close()
    return None
