"""Errors over HTTP: the status line, the headers and the body that stand for a google.rpc.Status."""

from __future__ import annotations

import json
import math
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from gateway.call import BackendError
from gateway.upstream.errors import rich_status
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.status import to_status

# google/rpc/code.proto says which HTTP status stands for which code.
HTTP_STATUS: dict[int, int] = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
# Where HTTP has a more exact word for the reason.
_BY_REASON = {Reason.MESSAGE_TOO_LARGE: 413, Reason.METHOD_NOT_FOUND: 404}


def status_of(error: ServiceError | BackendError, request_id: str) -> status_pb2.Status:
    """The google.rpc.Status of either kind of error."""
    if isinstance(error, ServiceError):
        return to_status(error, request_id)
    code: tuple[int, str] = error.code.value
    return rich_status(error) or status_pb2.Status(code=code[0], message=error.message)


def http_status(status: status_pb2.Status) -> int:
    """The HTTP status of an error."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.reason in _BY_REASON:
            return _BY_REASON[Reason(info.reason)]
    return HTTP_STATUS.get(status.code, 500)


def retry_after(status: status_pb2.Status) -> str | None:
    """The Retry-After header's whole seconds, from RetryInfo; None without one."""
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            return str(max(1, math.ceil(_seconds(retry.retry_delay))))
    return None


def body(status: status_pb2.Status, request_id: str) -> str:
    """The error as JSON on one line."""
    try:
        name = Code(status.code).name
    except ValueError:
        name = grpc.StatusCode.UNKNOWN.name
    details = [shown for detail in status.details if (shown := _detail(detail)) is not None]
    error = {
        "code": status.code,
        "status": name,
        "message": status.message,
        "request_id": request_id,
        "details": details,
    }
    return json.dumps({"error": error}, ensure_ascii=False)


def _detail(detail: PackedAny) -> dict[str, Any] | None:
    """A packed detail as JSON with its ``@type``; its fields are also found at the top level."""
    try:
        return dict(json_format.MessageToDict(detail))
    except TypeError:
        return None  # of a type this process does not know


def _seconds(delay: Duration) -> float:
    return delay.ToNanoseconds() / 1e9
