"""What holds for every call: its deadline, its metadata, and when it is tried again."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc

from pequod_client.errors import REQUEST_ID_KEY, PequodError, from_rpc_error

Metadata = tuple[tuple[str, str | bytes], ...]

_WORTH_RETRYING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed call is tried again: only where the server asks for it by google.rpc.RetryInfo.

    That goes for UNAVAILABLE (overloaded, loading, draining) and RESOURCE_EXHAUSTED (the caller's
    own limit). The wait is the server's, plus up to ``jitter`` of it so that callers do not return
    together, and never past the call's deadline.
    """

    max_attempts: int = 4
    """Tries in all, the first included. 1: never again."""
    jitter: float = 0.2
    """Largest share added to the server's wait."""

    def wait(self, error: PequodError, attempts: int) -> float | None:
        """Seconds to wait before the next try, after ``attempts`` of them; None: give up."""
        if error.retry_after is None or error.code not in _WORTH_RETRYING or attempts >= self.max_attempts:
            return None
        return error.retry_after * (1 + random.uniform(0, self.jitter))


@dataclass(frozen=True)
class CallPolicy:
    """What a client adds to every call."""

    timeout: float
    """Seconds a call with one reply may take when it says nothing else."""
    stream_timeout: float
    """The same for a call with a stream of replies."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    metadata: Metadata = ()

    def begin(self, timeout: float, metadata: Iterable[tuple[str, str | bytes]] | None) -> Attempts:
        """The attempts of one call that has ``timeout`` seconds and the caller's own ``metadata``."""
        own = (*self.metadata, *(metadata or ()))
        sent = next((str(value) for key, value in own if key == REQUEST_ID_KEY), "")
        request_id = sent or uuid.uuid4().hex
        return Attempts(
            retry=self.retry,
            deadline=time.monotonic() + timeout,
            metadata=own if sent else (*own, (REQUEST_ID_KEY, request_id)),
            request_id=request_id,
        )


@dataclass
class Attempts:
    """The tries of one call, all within one deadline and under one request id."""

    retry: RetryPolicy
    deadline: float
    metadata: Metadata
    request_id: str
    made: int = 0

    def settings(self) -> dict[str, Any]:
        """The keyword arguments of the next try."""
        return {"timeout": self.remaining(), "metadata": self.metadata}

    def remaining(self) -> float:
        """Seconds until the deadline; at least 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def failed(self, cause: grpc.RpcError, *, final: bool = False) -> float:
        """Seconds to wait before the next try. Raises PequodError when this one was the last or ``final``."""
        self.made += 1
        error = from_rpc_error(cause, self.request_id)
        wait = None if final else self.retry.wait(error, self.made)
        if wait is None or wait >= self.remaining():
            raise error from cause
        return wait
