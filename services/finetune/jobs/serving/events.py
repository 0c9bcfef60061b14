"""Makes the messages of WatchJob from a job's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pequod.common.v1 import Progress
from pequod.finetune import v1
from services.finetune.checkpoints.checkpoint import Checkpoint, KeptPreview
from services.finetune.checkpoints.records import scores_of
from services.finetune.jobs.job import Event, Kind
from services.finetune.jobs.serving.enums import LEVELS, STATES, alarm_kind
from services.finetune.jobs.serving.replies import Read, checkpoint_message, preview_message
from services.finetune.jobs.states import State

Data = Mapping[str, Any]


def event_message(event: Event, read: Read) -> v1.WatchJobResponse:
    """``read``: pictures of previews."""
    message = v1.WatchJobResponse(number=event.number)
    message.time.FromDatetime(event.time)
    _FILL[event.kind](message, event.data, read)
    return message


def _state(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    before = data["from"]
    change = v1.StateChange(to=STATES[State(data["to"])])
    # "from" is a keyword of this language.
    setattr(change, "from", STATES[State(before)] if before else v1.JOB_STATE_UNSPECIFIED)
    if data["error"]:
        change.error.CopyFrom(v1.JobError(**data["error"]))
    message.state.CopyFrom(change)


def _metrics(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    message.metrics.CopyFrom(v1.StepMetrics(**data))


def _preview(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    kept = KeptPreview(data["prompt"], data["seed"], data["text"], data["file"])
    message.preview.CopyFrom(preview_message(data["step"], kept, read))


def _checkpoint(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    """As it stood then."""
    known = {
        **data,
        "scores": scores_of(data["scores"]),
        "previews": tuple(KeptPreview(**each) for each in data["previews"]),
        "create_time": datetime.fromtimestamp(data["create_time"], UTC),
    }
    message.checkpoint.CopyFrom(checkpoint_message(Checkpoint(**known), {}))


def _alarm(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    alarm = v1.Alarm(**{**data, "kind": alarm_kind(data["kind"])})
    if not alarm.kind:
        alarm.message = f"{data['kind']}: {data['message']}"
    message.alarm.CopyFrom(alarm)


def _log(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    message.log.CopyFrom(v1.LogLine(level=LEVELS[data["level"]], text=data["text"]))


def _published(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    message.published.CopyFrom(v1.Published(**data))


def _progress(message: v1.WatchJobResponse, data: Data, read: Read) -> None:
    progress = Progress(completed=data["done"], total=data["total"], message=data["message"])
    message.progress.CopyFrom(progress)


_FILL: Mapping[Kind, Callable[[v1.WatchJobResponse, Data, Read], None]] = {
    Kind.STATE: _state,
    Kind.METRICS: _metrics,
    Kind.PREVIEW: _preview,
    Kind.CHECKPOINT: _checkpoint,
    Kind.ALARM: _alarm,
    Kind.LOG: _log,
    Kind.PUBLISHED: _published,
    Kind.PROGRESS: _progress,
}
