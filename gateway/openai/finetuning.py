"""``/v1/fine_tuning/jobs``: jobs of the fine-tune service as OpenAI has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from google.protobuf.json_format import MessageToDict
from pydantic import BaseModel, ConfigDict, Field

from gateway.caller import Caller
from gateway.openai.answer import Answer
from gateway.openai.body import Body, Count
from gateway.openai.files import checked
from gateway.openai.jobevents import event_of
from gateway.openai.paging import Page, page_of
from pequod.finetune import v1
from services.common.errors import invalid

_SERVICE = "/pequod.finetune.v1.FineTuneService/"
CREATE, GET, LIST, WATCH, CHECKPOINTS = (
    f"{_SERVICE}{name}" for name in ("CreateJob", "GetJob", "ListJobs", "WatchJob", "ListCheckpoints")
)
CANCEL, PAUSE, RESUME = (f"{_SERVICE}{name}Job" for name in ("Cancel", "Pause", "Resume"))
_STATUS = {
    v1.JOB_STATE_VALIDATING: "validating_files",
    v1.JOB_STATE_QUEUED: "queued",
    v1.JOB_STATE_PAUSED: "paused",
    v1.JOB_STATE_SUCCEEDED: "succeeded",
    v1.JOB_STATE_FAILED: "failed",
    v1.JOB_STATE_CANCELLED: "cancelled",
}
_AUTO: Final = "auto"
_PICTURES, _TEXTS = "dreambooth", "lora_lm"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Hyperparameters(_Part):
    """The three that OpenAI has; ``parameters`` of the request has all."""

    n_epochs: Literal["auto"] | int = _AUTO
    batch_size: Literal["auto"] | Count = _AUTO
    learning_rate_multiplier: Literal["auto"] | float = _AUTO


class Supervised(_Part):
    """How it learns."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(_Part):
    """Which way it learns."""

    type: Literal["supervised"]
    supervised: Supervised = Supervised()


class JobBody(Body):
    """A request. The last four fields are our own."""

    refused: ClassVar = {"integrations": "webhooks are set through CreateJob of the fine-tune service"}

    training_file: str = Field(min_length=1)
    validation_file: str = ""
    suffix: str = Field("", max_length=64)
    seed: int | None = Field(None, ge=0, lt=2**64)
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)
    recipe: str = ""
    preset: str = ""
    steps: Count | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


async def create_job(body: JobBody, caller: Caller) -> Answer:
    """Train on a file."""
    spec = v1.JobSpec(
        recipe=body.recipe or await _usual_recipe(body.training_file, caller),
        base=body.model,
        dataset_id=body.training_file,
        validation_dataset_id=body.validation_file,
        preset=body.preset,
        steps=body.steps,
        seed=body.seed,
        labels=body.metadata,
    )
    spec.parameters.update({**_hyperparameters(body), **body.parameters})
    if body.suffix:
        spec.output.name = f"{body.model.partition(':')[0].partition('@')[0]}-{body.suffix}"
    reply = await caller.one(CREATE, v1.CreateJobRequest(spec=spec))
    return _shown(reply.job)


async def _usual_recipe(dataset_id: str, caller: Caller) -> str:
    dataset = await checked(dataset_id, caller)
    return _PICTURES if dataset.kind == v1.DATASET_KIND_IMAGES else _TEXTS


def _hyperparameters(body: JobBody) -> dict[str, Any]:
    """Raises INVALID_ARGUMENT for what has no counterpart here."""
    given = body.method.supervised.hyperparameters if body.method else body.hyperparameters
    given = given or Hyperparameters()
    if given.n_epochs != _AUTO:
        raise invalid("hyperparameters.n_epochs", "must be auto: say steps, jobs here are as long as those")
    if given.learning_rate_multiplier != _AUTO:
        raise invalid("hyperparameters.learning_rate_multiplier", "must be auto: say parameters.rate")
    return {} if given.batch_size == _AUTO else {"batch": given.batch_size}


async def get_job(path: Mapping[str, Any], caller: Caller) -> Answer:
    """A job as it stands."""
    return _shown(await _job(path["job"], caller))


async def list_jobs(query: Page, caller: Caller) -> Answer:
    """Jobs, newest first."""
    found = await caller.every(LIST, v1.ListJobsRequest(), "jobs")
    return page_of(query, [_shown(each) for each in found])


async def cancel_job(path: Mapping[str, Any], caller: Caller) -> Answer:
    """End a job."""
    return _shown((await caller.one(CANCEL, v1.CancelJobRequest(job_id=path["job"]))).job)


async def pause_job(path: Mapping[str, Any], caller: Caller) -> Answer:
    """Stop a job after its next checkpoint."""
    return _shown((await caller.one(PAUSE, v1.PauseJobRequest(job_id=path["job"]))).job)


async def resume_job(path: Mapping[str, Any], caller: Caller) -> Answer:
    """Let a job go on."""
    return _shown((await caller.one(RESUME, v1.ResumeJobRequest(job_id=path["job"]))).job)


async def list_events(job_id: str, query: Page, caller: Caller) -> Answer:
    """What happened to a job, newest first."""
    last = (await _job(job_id, caller)).last_event
    end = last + 1
    if query.after:
        name, _, number = query.after.rpartition("-")
        if name != job_id or not number.isdigit() or not 1 <= int(number) <= last:
            raise invalid("after", f"{query.after[:100]!r} is no event of {job_id}")
        end = int(number)
    begin = max(0, end - 1 - query.limit)
    events: list[dict[str, Any]] = []
    if begin < end - 1:
        async for reply in caller.many(WATCH, v1.WatchJobRequest(job_id=job_id, after_event=begin)):
            events.append(event_of(job_id, reply))
            if reply.number >= end - 1:
                break
    return {"object": "list", "data": events[::-1], "has_more": begin > 0}


async def list_checkpoints(job_id: str, query: Page, caller: Caller) -> Answer:
    """A job's checkpoints, newest first; the one that was published has the model's name."""
    job = await _job(job_id, caller)
    request = v1.ListCheckpointsRequest(job_id=job_id, order=v1.CHECKPOINT_ORDER_STEP)
    found = await caller.every(CHECKPOINTS, request, "checkpoints")
    return page_of(query, [_checkpoint(each, job) for each in reversed(found)])


async def _job(job_id: str, caller: Caller) -> v1.Job:
    job: v1.Job = (await caller.one(GET, v1.GetJobRequest(job_id=job_id))).job
    return job


def _shown(job: v1.Job) -> dict[str, Any]:
    error = job.error if job.state == v1.JOB_STATE_FAILED else v1.JobError()
    batch = MessageToDict(job.spec.parameters).get("batch", _AUTO)
    hyperparameters = {"n_epochs": _AUTO, "batch_size": batch, "learning_rate_multiplier": _AUTO}
    return {
        "id": job.job_id,
        "object": "fine_tuning.job",
        "created_at": job.create_time.seconds,
        "finished_at": job.end_time.seconds or None,
        "estimated_finish": None,
        "model": job.spec.base,
        "fine_tuned_model": job.model or None,
        "organization_id": job.tenant,
        "result_files": [],
        "status": _STATUS.get(job.state, "running"),
        "training_file": job.spec.dataset_id,
        "validation_file": job.spec.validation_dataset_id or None,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "trained_tokens": None,
        "seed": job.spec.seed,
        "metadata": dict(job.spec.labels),
        "error": {"code": error.reason, "message": error.message, "param": error.field or None}
        if error.reason
        else None,
        "recipe": job.spec.recipe,
        "step": job.step,
        "steps": job.spec.steps,
    }


def _checkpoint(checkpoint: v1.Checkpoint, job: v1.Job) -> dict[str, Any]:
    scores = {score.name: score.value for score in checkpoint.scores}
    return {
        "id": checkpoint.checkpoint_id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.create_time.seconds,
        "fine_tuned_model_checkpoint": job.model if checkpoint.promoted else checkpoint.checkpoint_id,
        "fine_tuning_job_id": job.job_id,
        "step_number": checkpoint.step,
        "metrics": {"step": float(checkpoint.step), **scores},
        "rank": checkpoint.rank,
        "veto_reason": checkpoint.veto_reason or None,
    }
