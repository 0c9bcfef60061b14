"""What goes wrong with data sets, as errors that callers see."""

from __future__ import annotations

from services.common.errors import Code, Reason, ServiceError


def not_found(kind: str, name: str) -> ServiceError:
    """NOT_FOUND for a data set or an upload of this tenant."""
    reason = Reason.DATASET_NOT_FOUND if kind == "dataset" else Reason.UPLOAD_NOT_FOUND
    return ServiceError(Code.NOT_FOUND, reason, f"no {kind} {name[:200]!r}", resource=(kind, name[:200]))


def id_reused(field: str, value: str, differs: str) -> ServiceError:
    """ALREADY_EXISTS: the key of a call that asked for something else."""
    return ServiceError(
        Code.ALREADY_EXISTS,
        Reason.ID_REUSED,
        f"{field} {value} was used before, with other {differs}; take a new UUID",
        resource=(field, value),
    )


def quota_exceeded(wanted: int, used: int, quota: int) -> ServiceError:
    """RESOURCE_EXHAUSTED with the figures, in bytes."""
    return ServiceError(
        Code.RESOURCE_EXHAUSTED,
        Reason.QUOTA_EXCEEDED,
        f"{wanted:,} bytes do not fit: {used:,} of {quota:,} bytes are taken; delete data sets to make room",
        metadata={"wanted_bytes": str(wanted), "used_bytes": str(used), "quota_bytes": str(quota)},
    )


def upload_in_progress(upload_id: str) -> ServiceError:
    """ABORTED: another stream sends the same upload at this moment."""
    return ServiceError(
        Code.ABORTED,
        Reason.UPLOAD_IN_PROGRESS,
        f"another stream is sending upload {upload_id}; go on when it has ended",
        retry_after=1.0,
    )


def upload_incomplete(offset: int, size_bytes: int) -> ServiceError:
    """FAILED_PRECONDITION: the stream ended early; what came is kept."""
    return ServiceError(
        Code.FAILED_PRECONDITION,
        Reason.UPLOAD_INCOMPLETE,
        f"the stream ended after {offset} of {size_bytes} bytes, which are kept; go on from offset {offset}",
        metadata={"offset": str(offset), "size_bytes": str(size_bytes)},
    )


def in_use(dataset_id: str, holders: list[str]) -> ServiceError:
    """FAILED_PRECONDITION naming who holds it."""
    named = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
    return ServiceError(
        Code.FAILED_PRECONDITION,
        Reason.DATASET_IN_USE,
        f"data set {dataset_id} is used by {named}; cancel or wait",
        resource=("dataset", dataset_id),
    )


def not_ready(dataset_id: str, state: str, error: str) -> ServiceError:
    """FAILED_PRECONDITION: only READY data sets can be read."""
    why = f": {error}" if error else ""
    return ServiceError(
        Code.FAILED_PRECONDITION,
        Reason.DATASET_NOT_READY,
        f"data set {dataset_id} is {state.upper()}, not READY{why}",
        resource=("dataset", dataset_id),
    )
