"""ServiceError to google.rpc.Status and back: the rich error model of gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.common.errors import DOMAIN, Code, FieldViolation, Reason, ServiceError

DETAILS_KEY = "grpc-status-details-bin"

MOST_MESSAGE, MOST_VIOLATIONS, _MOST_NAME = 1500, 2000, 300
"""Bytes of an error's words, as metadata spells them: the message percent-encoded and once more, with the
details, in base64. Beyond 8 KiB in all gRPC gives the caller an error of its own instead."""

_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def grpc_code(code: int) -> grpc.StatusCode:
    """The grpc enum member for a google.rpc.Code number; UNKNOWN for a number it lacks."""
    return _GRPC_CODES.get(code, grpc.StatusCode.UNKNOWN)


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """The google.rpc.Status of an error, with ErrorInfo first and RequestInfo when an id is known.

    Words that are too many are cut, and of many violations the last ones are left out.
    """
    noted = {name: shortened(value, _MOST_NAME) for name, value in error.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=noted)
    ]
    if error.violations:
        details.append(error_details_pb2.BadRequest(field_violations=_violations(error.violations)))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(max(error.retry_after, 0.0) * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.resource is not None:
        kind, name = error.resource
        name = shortened(name, _MOST_NAME)
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
    if request_id:
        details.append(error_details_pb2.RequestInfo(request_id=request_id))
    message = shortened(error.message, MOST_MESSAGE)
    return status_pb2.Status(code=int(error.code), message=message, details=[_pack(d) for d in details])


def shortened(text: str, most: int) -> str:
    """``text``, or as much of its beginning as metadata spells in ``most`` bytes."""
    left = most
    for place, character in enumerate(text):
        left -= 1 if " " <= character <= "~" else 3 * len(character.encode(errors="replace"))
        if left < 0:
            return f"{text[:place]}…"
    return text


def from_status(status: status_pb2.Status) -> ServiceError:
    """The ServiceError a Status describes; details it does not know are left out."""
    error = ServiceError(Code(status.code), Reason.INTERNAL, status.message)
    for packed in status.details:
        _read_detail(packed, error)
    return error


def trailing(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries ``status``."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _violations(
    given: Sequence[FieldViolation],
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """The first of them, for which there is room."""
    left = MOST_VIOLATIONS
    for each in given:
        field, description = shortened(each.field, _MOST_NAME), shortened(each.description, left)
        yield error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        left -= len(field.encode()) + len(description.encode())
        if left <= 0:
            return


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
