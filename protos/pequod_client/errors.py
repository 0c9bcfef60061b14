"""What a failed call says: google.rpc.Status and its details as one exception."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

REQUEST_ID_KEY = "x-request-id"


class FieldViolation(NamedTuple):
    """One bad field: its path in the request ("sampling.temperature") and what is wrong with it."""

    field: str
    description: str


class Resource(NamedTuple):
    """What an error is about: its type ("model") and its name."""

    type: str
    name: str


@dataclass(eq=False)
class PequodError(Exception):
    """A call that failed. The grpc error it came from is its ``__cause__``."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """The cause by its name in Pequod's catalogue, "MODEL_NOT_FOUND". Empty when the server gave none."""
    violations: tuple[FieldViolation, ...] = ()
    """The fields at fault."""
    retry_after: float | None = None
    """Seconds after which the server thinks that trying again helps. None: it does not say."""
    resource: Resource | None = None
    """What was not found, exists already, is loading ..."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Figures that belong to the reason."""
    request_id: str = ""
    """The id under which the server's log knows the call."""

    def __str__(self) -> str:
        told = [self.code.name, self.reason, f"request id {self.request_id}" if self.request_id else ""]
        return f"{self.message} ({', '.join(part for part in told if part)})"


def from_rpc_error(cause: grpc.RpcError, request_id: str = "") -> PequodError:
    """The PequodError of a grpc error, sync or aio. ``request_id`` is the one the call was sent with."""
    call = cast(grpc.Call, cause)  # every error that a grpc call raises is one
    error = PequodError(call.code(), call.details() or "", request_id=_sent_back(call) or request_id)
    for packed in _details(call):
        for kind, read in _READERS.items():
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                read(error, detail)
    return error


def _details(call: grpc.Call) -> Iterable[Any]:
    """The details of the rich status; none where it is missing, malformed or contradicts the plain one."""
    try:
        status: status_pb2.Status | None = rpc_status.from_call(call)
    except Exception:  # a proxy's invention must not hide the error itself
        return ()
    return () if status is None else status.details


def _sent_back(call: grpc.Call) -> str:
    for key, value in call.trailing_metadata() or ():
        if key == REQUEST_ID_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""


def _read_info(error: PequodError, detail: Any) -> None:
    error.reason = detail.reason
    error.metadata = dict(detail.metadata)


def _read_bad_request(error: PequodError, detail: Any) -> None:
    error.violations = tuple(FieldViolation(v.field, v.description) for v in detail.field_violations)


def _read_retry(error: PequodError, detail: Any) -> None:
    error.retry_after = max(detail.retry_delay.ToNanoseconds() / 1e9, 0.0)


def _read_resource(error: PequodError, detail: Any) -> None:
    error.resource = Resource(detail.resource_type, detail.resource_name)


def _read_request(error: PequodError, detail: Any) -> None:
    error.request_id = detail.request_id


_READERS = {
    error_details_pb2.ErrorInfo: _read_info,
    error_details_pb2.BadRequest: _read_bad_request,
    error_details_pb2.RetryInfo: _read_retry,
    error_details_pb2.ResourceInfo: _read_resource,
    error_details_pb2.RequestInfo: _read_request,
}
