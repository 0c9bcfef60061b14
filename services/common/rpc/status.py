"""ServiceError to google.rpc.Status and back: the rich error model of gRPC."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.common.errors import DOMAIN, Code, FieldViolation, Reason, ServiceError

DETAILS_KEY = "grpc-status-details-bin"

_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def grpc_code(code: int) -> grpc.StatusCode:
    """The grpc enum member for a google.rpc.Code number; UNKNOWN for a number it lacks."""
    return _GRPC_CODES.get(code, grpc.StatusCode.UNKNOWN)


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """The google.rpc.Status of an error, with ErrorInfo first and RequestInfo when an id is known."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.value, domain=DOMAIN, metadata=dict(error.metadata)
    )
    details: list[Message] = [info]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(max(error.retry_after, 0.0) * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.resource is not None:
        kind, name = error.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
    if request_id:
        details.append(error_details_pb2.RequestInfo(request_id=request_id))
    return status_pb2.Status(code=int(error.code), message=error.message, details=[_pack(d) for d in details])


def from_status(status: status_pb2.Status) -> ServiceError:
    """The ServiceError a Status describes; details it does not know are left out."""
    error = ServiceError(Code(status.code), Reason.INTERNAL, status.message)
    for packed in status.details:
        _read_detail(packed, error)
    return error


def trailing(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries ``status``."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _read_detail(packed: any_pb2.Any, error: ServiceError) -> None:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    resource = error_details_pb2.ResourceInfo()
    if packed.Unpack(info):
        error.reason = Reason(info.reason) if info.reason in Reason.__members__ else Reason.INTERNAL
        error.metadata = dict(info.metadata)
    elif packed.Unpack(bad):
        error.violations = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
    elif packed.Unpack(retry):
        error.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    elif packed.Unpack(resource):
        error.resource = (resource.resource_type, resource.resource_name)
