"""Jobs and checkpoints as tables and facts for people."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from gateway.cli import output
from gateway.cli.following import duration, state_name
from pequod.finetune.v1 import (
    JOB_STATE_SUCCEEDED,
    Checkpoint,
    Forecast,
    GetJobResponse,
    Job,
    JobState,
)

COLUMNS = ("id!", "recipe", "state", "step#", "left#", "model", "created")
CHECKPOINT_COLUMNS = ("id!", "step#", "rank#", "size#", "!")
"""Before the scores."""
_MOST_SCORES = 6


def state_of(name: str) -> JobState.ValueType:
    """By its name for people. Raises BadParameter listing the known."""
    known = {state_name(value): value for value in JobState.values() if value}
    if name.lower() not in known:
        raise typer.BadParameter(f"{name!r} is no state; states are {', '.join(known)}")
    return known[name.lower()]


def row(job: Job) -> tuple[str, ...]:
    """In a list."""
    steps = f"{job.step}/{job.spec.steps}" if job.spec.steps else ""
    wish = " (to be cancelled)" if job.cancel_requested else " (to be paused)" if job.pause_requested else ""
    return (
        job.job_id,
        job.spec.recipe,
        state_name(job.state) + wish,
        steps,
        duration(job.remaining_seconds) if job.remaining_seconds else "",
        job.model,
        job.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
    )


def show_job(reply: GetJobResponse, as_json: bool) -> None:
    """All that is known of one."""
    if as_json:
        output.message_json(reply)
        return
    job = reply.job
    output.table(COLUMNS, [row(job)])
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(job.metrics.items()))
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(dict(job.spec.parameters).items()))
    facts = [
        ("name", f"{job.spec.output.name}@{job.spec.output.alias}"),
        ("base", job.base_version or job.spec.base),
        ("data set", job.spec.dataset_id),
        ("digest", job.dataset_digest),
        ("preset", job.spec.preset),
        ("parameters", parameters),
        ("seed", f"{job.spec.seed}"),
        ("figures", figures),
        ("before it", f"{job.queue_position}" if job.queue_position else ""),
        ("best", job.best_checkpoint_id),
        ("promoted", job.promoted_checkpoint_id),
        ("attempts", f"{job.attempts}" if job.attempts > 1 else ""),
        *sorted(job.spec.labels.items()),
    ]
    output.write("".join(f"{name:16}{value}\n" for name, value in facts if value))
    if job.HasField("forecast"):
        output.write("forecast\n")
        show_forecast(job.forecast)
    if job.error.message:
        output.fail(f"{job.error.message} ({job.error.reason})")


def checkpoint_row(checkpoint: Checkpoint, names: Sequence[str]) -> tuple[str, ...]:
    """``names``: of the scores, in their order."""
    values = {each.name: each.value for each in checkpoint.scores}
    marks = [
        "best" if checkpoint.best else "",
        "promoted" if checkpoint.promoted else "",
        checkpoint.veto_reason,
        "" if checkpoint.size_bytes else "files gone",
    ]
    return (
        checkpoint.checkpoint_id,
        f"{checkpoint.step}",
        f"{checkpoint.rank or '-'}",
        output.size(checkpoint.size_bytes),
        ", ".join(filter(None, marks)),
        *(f"{values[name]:.4g}" if name in values else "" for name in names),
    )


def scores_shown(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Names of the scores that a table has room for: those that count in the order, else the first few."""
    every = [score for each in checkpoints for score in each.scores]
    ranked = dict.fromkeys(score.name for score in every if score.direction)
    return list(ranked or dict.fromkeys(score.name for score in every))[:_MOST_SCORES]


def show_forecast(forecast: Forecast) -> None:
    """What a job would take."""
    facts = [
        ("steps", f"{forecast.steps}" if forecast.steps else ""),
        ("a step", f"{forecast.step_seconds:.3f} s" if forecast.step_seconds else ""),
        ("in the queue", duration(forecast.queue_seconds)),
        ("to the first step", duration(forecast.prepare_seconds)),
        ("from there", duration(forecast.duration_seconds)),
        ("memory", output.size(forecast.memory_bytes)),
        ("disk", output.size(forecast.disk_bytes)),
    ]
    output.write("".join(f"{name:20}{value}\n" for name, value in facts if value))
    for warning in forecast.warnings:
        output.warn(warning)


def end(job: Job, as_json: bool) -> None:
    """How a job that was followed ended: its model on standard output. Exits with 1 when it ended badly."""
    if as_json:
        output.message_json(job)
    elif job.model:
        output.write(f"{job.model}\n")
    elif job.error.message:
        output.fail(f"{job.error.message} ({job.error.reason})")
    else:
        output.note(f"{job.job_id} is {state_name(job.state)}")
    if job.state != JOB_STATE_SUCCEEDED:
        raise typer.Exit(1)
