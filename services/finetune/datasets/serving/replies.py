"""Makes the messages of DatasetService."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from pequod.common.v1 import Progress as ProgressMessage
from pequod.common.v1 import Usage
from pequod.finetune import v1
from services.finetune.datasets.dataset import Dataset, Kind, Progress, Report, State
from services.finetune.datasets.uploads import Standing

_KINDS: Mapping[Kind, v1.DatasetKind.ValueType] = {
    Kind.UNKNOWN: v1.DATASET_KIND_UNSPECIFIED,
    Kind.IMAGES: v1.DATASET_KIND_IMAGES,
    Kind.TEXT: v1.DATASET_KIND_TEXT,
    Kind.CHAT: v1.DATASET_KIND_CHAT,
}
_STATES: Mapping[State, v1.DatasetState.ValueType] = {
    State.IMPORTING: v1.DATASET_STATE_IMPORTING,
    State.CHECKING: v1.DATASET_STATE_CHECKING,
    State.READY: v1.DATASET_STATE_READY,
    State.FAILED: v1.DATASET_STATE_FAILED,
}


def dataset_message(dataset: Dataset, issues: bool = True) -> v1.Dataset:
    """``issues``: whether those of the report stand in it."""
    message = v1.Dataset(
        dataset_id=dataset.dataset_id,
        display_name=dataset.display_name,
        kind=_KINDS[dataset.kind],
        state=_STATES[dataset.state],
        digest=dataset.digest,
        size_bytes=dataset.size_bytes,
        error=dataset.error,
        source_uri=dataset.source_uri,
        tenant=dataset.tenant,
        labels=dataset.labels,
    )
    message.create_time.FromDatetime(dataset.created_at)
    if dataset.report is not None:
        message.report.CopyFrom(_report(dataset.report, issues))
    return message


def progress_message(dataset: Dataset) -> ProgressMessage | None:
    """How far the import or the check is; None when none is under way."""
    if dataset.ended:
        return None
    progress = dataset.progress or Progress(message="waiting")
    return ProgressMessage(
        completed=progress.completed, total=progress.total, unit=progress.unit, message=progress.message
    )


def upload_message(standing: Standing, usage: Usage) -> v1.GetUploadResponse:
    """How far an upload has come."""
    message = v1.GetUploadResponse(offset=standing.offset, size_bytes=standing.size_bytes, usage=usage)
    if standing.expires_at is not None:
        expires = Timestamp()
        expires.FromDatetime(standing.expires_at)
        message.expire_time.CopyFrom(expires)
    if standing.dataset is not None:
        message.dataset.CopyFrom(dataset_message(standing.dataset))
    return message


def _report(report: Report, issues: bool) -> v1.DatasetReport:
    fields = report.model_dump(exclude={"issues"})
    message = v1.DatasetReport(**fields)
    for issue in report.issues if issues else ():
        message.issues.add(
            path=issue.path,
            problem=v1.FileProblem.Value(f"FILE_PROBLEM_{issue.problem.name}"),
            message=issue.message,
            skipped=issue.skipped,
            line=issue.line,
            other_path=issue.other_path,
        )
    return message
