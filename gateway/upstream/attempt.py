"""One try of a call on one backend, for each of the four kinds of method."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import grpc.aio

from gateway.call import BackendError, Call
from gateway.middleware.identify import returned
from gateway.upstream.backend import Backend
from pequod_client.sent_status import SentStatus
from services.common.rpc.usage import ACCEPTED_KEY, usage_in
from services.common.tracing.context import onward


async def attempt(call: Call, backend: Backend) -> None:
    """Run ``call`` on ``backend`` and hand its replies on as they come. Raises BackendError."""
    left = max(0.0, call.deadline - time.monotonic())
    rpc = backend.stub(call.method)(call.request, timeout=left, metadata=onward(call.onward))
    # Only where requests are still being written can grpc.aio lose a status.
    sent = SentStatus(rpc) if call.method.request_streaming else None
    call.begun |= call.method.request_streaming  # a stream that was read cannot be sent again
    try:
        if call.method.response_streaming:
            await _stream(call, rpc)
        else:
            await _single(call, rpc)
    except grpc.aio.AioRpcError as raised:
        error = sent.instead_of(raised) if sent else raised
        call.usage = usage_in(error.trailing_metadata() or ())
        call.begun |= _accepted(error.initial_metadata() or ())
        trailing = returned(error.trailing_metadata() or ())
        raise BackendError(error.code(), error.details() or "", trailing) from None


async def _single(call: Call, rpc: Any) -> None:
    """One reply; awaiting it cancels the RPC when this task is cancelled."""
    call.reply = await rpc
    if custom := returned(await rpc.initial_metadata()):
        await call.replies.begin(custom)
    _ended(call, await rpc.trailing_metadata())


async def _stream(call: Call, rpc: Any) -> None:
    """A stream of replies; the next is read when the caller has taken the one before."""
    try:
        initial = await rpc.initial_metadata()
        if initial:
            # Only a backend that took the call up has sent some: the caller may know at once.
            call.begun = True
            await call.replies.begin(returned(initial))
        async for message in rpc:
            call.begun = True
            await call.replies.send(message)
        _ended(call, await rpc.trailing_metadata())
    finally:
        rpc.cancel()


def _ended(call: Call, trailing: Iterable[tuple[str, str | bytes]]) -> None:
    call.trailing += returned(trailing)
    call.usage = usage_in(trailing)


def _accepted(initial: Iterable[tuple[str, str | bytes]]) -> bool:
    return any(key == ACCEPTED_KEY for key, _ in initial)
