"""Refuses what no service should see: oversized messages and deadlines that make no sense."""

from __future__ import annotations

import time

from gateway.call import Call
from gateway.pipeline import Proceed
from gateway.settings import Policy
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.server import MAX_MESSAGE_BYTES


class Sanity:
    """Checks sizes, and gives every call a deadline: the caller's, the default, at most the maximum."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Fill in ``deadline``. Raises RESOURCE_EXHAUSTED for a size, DEADLINE_EXCEEDED for a time."""
        if isinstance(call.request, bytes) and len(call.request) > MAX_MESSAGE_BYTES:
            raise too_large(f"the request has {len(call.request)} bytes")
        seconds = call.remaining
        if seconds is None:
            method, policy = call.method, self._policy
            streams = method.request_streaming or method.response_streaming
            seconds = policy.stream_seconds if streams else policy.unary_seconds
        if seconds <= 0:
            raise ServiceError(
                Code.DEADLINE_EXCEEDED, Reason.DEADLINE, "the deadline passed before the call began"
            )
        call.deadline = time.monotonic() + min(seconds, self._policy.max_seconds)
        await proceed(call)


def too_large(what: str) -> ServiceError:
    """RESOURCE_EXHAUSTED with the limit."""
    limit = f"the limit is {MAX_MESSAGE_BYTES} bytes ({MAX_MESSAGE_BYTES >> 20} MiB)"
    return ServiceError(Code.RESOURCE_EXHAUSTED, Reason.MESSAGE_TOO_LARGE, f"{what}; {limit}")
