"""An event of a job as a sentence with its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from pequod.finetune import v1

_LEVELS = {v1.LOG_LEVEL_WARNING: "warn", v1.LOG_LEVEL_ERROR: "error"}


def event_of(job_id: str, event: v1.WatchJobResponse) -> dict[str, Any]:
    """One event; ``data`` holds all of it."""
    kind = event.WhichOneof("event") or ""
    said = getattr(event, kind)
    return {
        "object": "fine_tuning.job.event",
        "id": f"{job_id}-{event.number}",
        "created_at": event.time.seconds,
        "level": _level(event),
        "message": _SENTENCES[kind](said),
        "type": "metrics" if kind == "metrics" else "message",
        "data": {"kind": kind, **MessageToDict(said, preserving_proto_field_name=True)},
    }


def _level(event: v1.WatchJobResponse) -> str:
    if event.HasField("log"):
        return _LEVELS.get(event.log.level, "info")
    if event.HasField("state") and event.state.to == v1.JOB_STATE_FAILED:
        return "error"
    return "warn" if event.HasField("alarm") and not event.alarm.cleared else "info"


def _state(change: v1.StateChange) -> str:
    name = v1.JobState.Name(change.to).removeprefix("JOB_STATE_").lower()
    return f"the job is {name}{f': {change.error.message}' if change.error.message else ''}"


def _metrics(metrics: v1.StepMetrics) -> str:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.values.items()))
    return f"step {metrics.step} of {metrics.steps}: {figures}"


def _checkpoint(checkpoint: v1.Checkpoint) -> str:
    place = f"rank {checkpoint.rank}" if checkpoint.rank else checkpoint.veto_reason or "not ranked yet"
    return f"checkpoint at step {checkpoint.step}: {place}"


_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "state": _state,
    "metrics": _metrics,
    "preview": lambda preview: f"a preview at step {preview.step}",
    "checkpoint": _checkpoint,
    "alarm": lambda alarm: f"{alarm.message}{f'; {alarm.action}' if alarm.action else ''}",
    "log": lambda line: line.text,
    "published": lambda published: f"published as {published.model}",
    "progress": lambda progress: progress.message or f"{progress.completed} of {progress.total}",
}
