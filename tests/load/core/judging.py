"""From the exception that a call ended with to what became of it."""

from __future__ import annotations

import grpc

from pequod_client.errors import PequodError, from_rpc_error
from tests.load.core.outcome import Kind, Verdict

TURNED_AWAY = frozenset(
    {"OVERLOADED", "LIMIT_REACHED", "LOADING", "MEMORY_BUDGET", "QUOTA_EXCEEDED", "DRAINING"}
)
"""Reasons of refusals. BACKEND_DOWN is none: that is a failure, however politely told."""
_REFUSING = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}


class WrongPayload(Exception):
    """The status is OK and the payload is not what it has to be; says in what."""


class Left(Exception):
    """We ended the call ourselves, as planned."""


class CallFailed(Exception):
    """A call that failed through a door without gRPC's own exceptions."""

    def __init__(
        self,
        code: str,
        message: str,
        reason: str = "",
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.request_id = request_id


def judged(error: Exception) -> Verdict:
    """What became of a call that ended with ``error``. One that nobody foresaw is a failure by its name."""
    if isinstance(error, Left):
        return Verdict(Kind.CANCELLED, "CANCELLED", detail=str(error))
    if isinstance(error, WrongPayload):
        return Verdict(Kind.WRONG, detail=str(error))
    if isinstance(error, TimeoutError):
        return Verdict(Kind.LATE, "DEADLINE_EXCEEDED", detail="no answer within our own deadline")
    if isinstance(error, grpc.RpcError):
        error = from_rpc_error(error)
    if isinstance(error, PequodError):
        return _told(error.code.name, error.reason, error.retry_after, f"{error.message}", error.request_id)
    if isinstance(error, CallFailed):
        return _told(error.code, error.reason, error.retry_after, str(error), error.request_id)
    return Verdict(Kind.FAILED, type(error).__name__, detail=str(error))


def _told(code: str, reason: str, retry_after: float | None, message: str, request_id: str) -> Verdict:
    kind = Kind.FAILED
    if code == "DEADLINE_EXCEEDED":
        kind = Kind.LATE
    elif code in _REFUSING and reason in TURNED_AWAY:
        kind = Kind.REFUSED
    return Verdict(kind, code, reason, retry_after, message, request_id)
