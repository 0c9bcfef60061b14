"""Makes the messages of FineTuneService about jobs and checkpoints."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from PIL import Image as Picture

from pequod.common.v1 import IMAGE_FORMAT_PNG, Image
from pequod.common.v1 import Progress as ProgressMessage
from pequod.finetune import v1
from services.finetune.checkpoints.checkpoint import Checkpoint, KeptPreview
from services.finetune.jobs.job import Job, JobError, Progress, Spec
from services.finetune.jobs.serving.enums import DIRECTIONS, EXECUTORS, PROMOTIONS, STATES
from services.finetune.recipes.candidates.ranking import ranked

Read = Callable[[str], bytes]
"""The picture of a preview by its file's name; empty when it is gone."""


def no_pictures(name: str) -> bytes:
    """Previews come without."""
    return b""


def job_message(job: Job) -> v1.Job:
    """A job, without the secrets of its webhooks."""
    message = v1.Job(
        job_id=job.job_id,
        spec=spec_message(job.spec),
        state=STATES[job.state],
        step=job.step,
        remaining_seconds=job.remaining_seconds,
        metrics=job.metrics,
        best_checkpoint_id=job.best_checkpoint_id,
        promoted_checkpoint_id=job.promoted_checkpoint_id,
        model=job.model,
        dataset_digest=job.dataset_digest,
        base_version=job.base_version,
        attempts=job.attempts,
        last_event=job.last_event,
        queue_position=job.queue_position,
        tenant=job.tenant,
        cancel_requested=job.cancel_requested,
        pause_requested=job.pause_requested,
    )
    if job.error is not None:
        message.error.CopyFrom(error_message(job.error))
    if job.progress is not None:
        message.progress.CopyFrom(progress_message(job.progress))
    if job.forecast is not None:
        message.forecast.CopyFrom(forecast_message(job.forecast))
    message.create_time.FromDatetime(job.create_time)
    if job.start_time is not None:
        message.start_time.FromDatetime(job.start_time)
    if job.end_time is not None:
        message.end_time.FromDatetime(job.end_time)
    return message


def spec_message(spec: Spec) -> v1.JobSpec:
    """What a job is to do, webhook secrets left out."""
    resources = spec.resources
    message = v1.JobSpec(
        recipe=spec.recipe,
        base=spec.base,
        dataset_id=spec.dataset_id,
        validation_dataset_id=spec.validation_dataset_id,
        preset=spec.preset,
        seed=spec.seed,
        checkpoint_every=spec.checkpoint_every,
        keep_checkpoints=spec.keep_checkpoints,
        patience=spec.patience,
        output=v1.Output(name=spec.name, alias=spec.alias, promotion=PROMOTIONS[spec.promotion]),
        executor=EXECUTORS[spec.executor],
        resources=v1.Resources(
            accelerators=resources.accelerators,
            accelerator_type=resources.accelerator_type,
            cpu_cores=resources.cpu_cores,
            memory_bytes=resources.memory_bytes,
            queue=resources.queue,
            max_seconds=resources.max_seconds,
        ),
        webhooks=[
            v1.Webhook(url=each.url, states=[STATES[state] for state in each.states])
            for each in spec.webhooks
        ],
        priority=spec.priority,
        labels=spec.labels,
    )
    json_format.ParseDict(dict(spec.parameters), message.parameters)
    if spec.steps:
        message.steps = spec.steps
    return message


def error_message(error: JobError) -> v1.JobError:
    """Why a job failed or stands still."""
    return v1.JobError(reason=error.reason, message=error.message, field=error.field)


def progress_message(progress: Progress) -> ProgressMessage:
    """How far it is."""
    return ProgressMessage(completed=progress.done, total=progress.total, message=progress.message)


def forecast_message(given: Mapping[str, Any]) -> v1.Forecast:
    """What a job would take."""
    return v1.Forecast(**given)


def checkpoint_message(
    checkpoint: Checkpoint, places: Mapping[str, int], read: Read = no_pictures
) -> v1.Checkpoint:
    """``places``: of its scores among those of the job's checkpoints."""
    message = v1.Checkpoint(
        checkpoint_id=checkpoint.checkpoint_id,
        job_id=checkpoint.job_id,
        step=checkpoint.step,
        rank=checkpoint.rank,
        scores=[
            v1.Score(
                name=each.name,
                value=each.value,
                direction=DIRECTIONS[each.better],
                rank=places.get(each.name, 0),
                veto=bool(each.veto),
            )
            for each in checkpoint.scores
        ],
        veto_reason=checkpoint.veto_reason,
        best=checkpoint.best,
        promoted=checkpoint.promoted,
        previews=[preview_message(checkpoint.step, each, read) for each in checkpoint.previews],
        size_bytes=checkpoint.size_bytes,
        digest=checkpoint.digest,
    )
    message.create_time.FromDatetime(checkpoint.create_time)
    return message


def preview_message(step: int, preview: KeptPreview, read: Read) -> v1.Preview:
    """An output, with its picture where ``read`` has one."""
    message = v1.Preview(step=step, prompt=preview.prompt, seed=preview.seed, text=preview.text)
    if preview.file and (data := read(preview.file)):
        with Picture.open(io.BytesIO(data)) as picture:
            width, height = picture.size
        message.image.CopyFrom(Image(data=data, format=IMAGE_FORMAT_PNG, width=width, height=height))
    return message


def places_of(checkpoints: Sequence[Checkpoint]) -> dict[int, Mapping[str, int]]:
    """By step, the places of a checkpoint by its scores."""
    return {each.step: each.places for each in ranked(checkpoints)}
