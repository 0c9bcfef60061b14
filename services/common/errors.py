"""Errors that a caller may see: a gRPC status, a reason from one catalogue, and details.

Any other exception that leaves a servicer is a bug: the caller gets INTERNAL with a request
id, the log gets the trace (see ``services.common.rpc.interceptors``). This file imports no
grpc, so engines may raise these.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DOMAIN = "pequod"


class Code(enum.IntEnum):
    """Status codes of google.rpc.Code, by their numbers on the wire."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(enum.StrEnum):
    """Every reason a Pequod error can give, as in ``google.rpc.ErrorInfo.reason``."""

    INVALID_FIELD = "INVALID_FIELD"
    KEY_MISSING = "KEY_MISSING"
    KEY_INVALID = "KEY_INVALID"
    KEY_EXPIRED = "KEY_EXPIRED"
    NOT_ALLOWED = "NOT_ALLOWED"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    MALFORMED_JSON = "MALFORMED_JSON"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    METHOD_NOT_FOUND = "METHOD_NOT_FOUND"
    NAME_TAKEN = "NAME_TAKEN"
    NOT_OWNER = "NOT_OWNER"
    VERSION_EXISTS = "VERSION_EXISTS"
    ALIAS_CONFLICT = "ALIAS_CONFLICT"
    READ_ONLY_STORE = "READ_ONLY_STORE"
    FILE_TAMPERED = "FILE_TAMPERED"
    UNSAFE_FORMAT = "UNSAFE_FORMAT"
    UNSAFE_PATH = "UNSAFE_PATH"
    HUB_UNREACHABLE = "HUB_UNREACHABLE"
    STORE_UNREACHABLE = "STORE_UNREACHABLE"
    DATABASE_UNREACHABLE = "DATABASE_UNREACHABLE"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_ENDED = "JOB_ENDED"
    JOB_NOT_ENDED = "JOB_NOT_ENDED"
    CHECKPOINT_NOT_FOUND = "CHECKPOINT_NOT_FOUND"
    CHECKPOINT_GONE = "CHECKPOINT_GONE"
    RECIPE_FAILED = "RECIPE_FAILED"
    DIVERGED = "DIVERGED"
    CRASHED = "CRASHED"
    TIME_LIMIT = "TIME_LIMIT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    EVICTED = "EVICTED"
    IMAGE_UNAVAILABLE = "IMAGE_UNAVAILABLE"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    CLUSTER_UNREACHABLE = "CLUSTER_UNREACHABLE"
    DATASET_NOT_FOUND = "DATASET_NOT_FOUND"
    DATASET_NOT_READY = "DATASET_NOT_READY"
    DATASET_IN_USE = "DATASET_IN_USE"
    UPLOAD_NOT_FOUND = "UPLOAD_NOT_FOUND"
    UPLOAD_IN_PROGRESS = "UPLOAD_IN_PROGRESS"
    UPLOAD_INCOMPLETE = "UPLOAD_INCOMPLETE"
    ID_REUSED = "ID_REUSED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    DISK_FULL = "DISK_FULL"
    LOADING = "LOADING"
    LOAD_FAILED = "LOAD_FAILED"
    MEMORY_BUDGET = "MEMORY_BUDGET"
    OVERLOADED = "OVERLOADED"
    DRAINING = "DRAINING"
    BACKEND_DOWN = "BACKEND_DOWN"
    LIMIT_REACHED = "LIMIT_REACHED"
    DEADLINE = "DEADLINE"
    UNSUPPORTED = "UNSUPPORTED"
    EXPORT_FAILED = "EXPORT_FAILED"
    PARITY_FAILED = "PARITY_FAILED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True)
class FieldViolation:
    """One bad field: its path in the request ("sampling.temperature") and what is wrong with it."""

    field: str
    description: str


@dataclass(eq=False)
class ServiceError(Exception):
    """A failure to report to the caller.

    ``metadata`` becomes ErrorInfo.metadata, ``retry_after`` (seconds) RetryInfo, ``resource``
    (type, name) ResourceInfo. ``detail`` is for the log and for commands on the machine, not for the
    caller: addresses, words of other programs.
    """

    code: Code
    reason: Reason
    message: str
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    resource: tuple[str, str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.message}: {self.detail}" if self.detail else self.message


def invalid(field_path: str, description: str) -> ServiceError:
    """INVALID_ARGUMENT for one field; ``description`` holds the value and the limit."""
    return ServiceError(
        Code.INVALID_ARGUMENT,
        Reason.INVALID_FIELD,
        f"{field_path}: {description}",
        violations=(FieldViolation(field_path, description),),
    )


def model_not_found(reference: str, known: Iterable[str]) -> ServiceError:
    """NOT_FOUND for a model reference, with the close names among ``known``."""
    names = sorted(set(known))
    close = difflib.get_close_matches(reference, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"known models: {', '.join(names) or 'none'}"
    return ServiceError(
        Code.NOT_FOUND,
        Reason.MODEL_NOT_FOUND,
        f"no model {reference!r}; {hint}",
        resource=("model", reference),
        metadata={"close": ",".join(close)},
    )


def overloaded(what: str, retry_after: float) -> ServiceError:
    """UNAVAILABLE: our own queue is full; ``retry_after`` seconds is an honest guess of when it is not."""
    return ServiceError(
        Code.UNAVAILABLE, Reason.OVERLOADED, f"{what}; retry in {retry_after:.2f} s", retry_after=retry_after
    )


def draining(what: str = "the service") -> ServiceError:
    """UNAVAILABLE: this process is going away; another one answers, or its successor in a moment."""
    return ServiceError(Code.UNAVAILABLE, Reason.DRAINING, f"{what} is shutting down", retry_after=1.0)


def loading(reference: str, retry_after: float) -> ServiceError:
    """UNAVAILABLE: the model is being loaded; the load goes on."""
    return ServiceError(
        Code.UNAVAILABLE,
        Reason.LOADING,
        f"model {reference!r} is loading; WatchModel shows its progress",
        retry_after=retry_after,
        resource=("model", reference),
    )


def unsupported(message: str) -> ServiceError:
    """FAILED_PRECONDITION: the request is well formed, but this model cannot do it."""
    return ServiceError(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, message)
