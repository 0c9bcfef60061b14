"""Reads a backend's status: what it says of the backend, and what the caller is told."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from gateway.call import BackendError
from gateway.upstream.outlier import Outcome
from gateway.upstream.pool import backend_down
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.status import DETAILS_KEY

# Said by a backend that is well, but busy or waiting for something else.
_NOT_UNHEALTHY = frozenset({Reason.OVERLOADED, Reason.LOADING, Reason.DRAINING, Reason.HUB_UNREACHABLE})
_UNHEALTHY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})


def rich_status(error: BackendError) -> status_pb2.Status | None:
    """The google.rpc.Status that came with ``error``; None when there is none that can be read."""
    for key, value in error.trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def judge(error: BackendError) -> Outcome:
    """What ``error`` says about the backend's health."""
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome.NEUTRAL
    if error.code not in _UNHEALTHY:
        return Outcome.GOOD
    return Outcome.NEUTRAL if _reason(error) in _NOT_UNHEALTHY else Outcome.BAD


def explained(error: BackendError, service: str, begun: bool) -> BackendError | ServiceError:
    """``error`` as the caller gets it: what a backend said stays as it is.

    A status without details that grpc made itself (its texts name internal addresses) is put in
    the platform's words.
    """
    if rich_status(error) is not None:
        return error
    if error.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        return backend_down(service, "it went away during the call" if begun else "it does not answer")
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServiceError(
            Code.DEADLINE_EXCEEDED, Reason.DEADLINE, f"service {service} did not finish before the deadline"
        )
    return error


def _reason(error: BackendError) -> str:
    status = rich_status(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            return str(info.reason)
    return ""
