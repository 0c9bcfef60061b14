"""A job, what it is to do, and what happens to it, as plain data."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.finetune.jobs.states import State

Json = Mapping[str, Any]
"""What JSON can hold."""

_SYMBOLS = string.ascii_lowercase + string.digits


def new_job_id() -> str:
    """ "ft-" and 26 letters and digits, drawn."""
    return "ft-" + "".join(secrets.choice(_SYMBOLS) for _ in range(26))


class Executor(enum.StrEnum):
    """What runs a job."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


class Promotion(enum.StrEnum):
    """What is published when a job ends well."""

    BEST = "best"
    MANUAL = "manual"


@dataclass(frozen=True)
class Webhook:
    """An address that hears of the job."""

    url: str
    secret: str
    states: tuple[State, ...]


@dataclass(frozen=True)
class Resources:
    """What a job may take; 0 and "" leave it to the service."""

    accelerators: int = 0
    accelerator_type: str = ""
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    queue: str = ""
    max_seconds: int = 0


@dataclass(frozen=True)
class Spec:
    """What a job is to do, defaults filled in."""

    recipe: str
    base: str = ""
    dataset_id: str = ""
    validation_dataset_id: str = ""
    preset: str = ""
    parameters: Json = field(default_factory=dict)
    steps: int = 0
    seed: int = 0
    checkpoint_every: int = 0
    keep_checkpoints: int = 5
    patience: int = 0
    name: str = ""
    alias: str = "production"
    promotion: Promotion = Promotion.BEST
    executor: Executor = Executor.LOCAL
    resources: Resources = Resources()
    webhooks: tuple[Webhook, ...] = ()
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the database."""
        return dataclasses.asdict(self)

    @classmethod
    def of_json(cls, given: Json) -> Spec:
        """The way back."""
        hooks = [
            Webhook(each["url"], each["secret"], tuple(map(State, each["states"])))
            for each in given["webhooks"]
        ]
        return cls(
            **{
                **given,
                "promotion": Promotion(given["promotion"]),
                "executor": Executor(given["executor"]),
                "resources": Resources(**given["resources"]),
                "webhooks": tuple(hooks),
            }
        )

    @property
    def sha256(self) -> str:
        """Tells specs apart."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def output_name(spec: Spec, job_id: str) -> str:
    """What a result is called that was given no name: the base's, or the recipe's, "-" and the job's id."""
    base = spec.base.rpartition("/")[2] if ":" in spec.base[:5] else re.split("[:@]", spec.base)[0]
    root = re.sub("[^a-z0-9._-]", "-", (base or spec.recipe).lower()).strip(".-_") or "model"
    return f"{root.replace('..', '.')[:90]}-{job_id}"


@dataclass(frozen=True)
class JobError:
    """Why a job failed or stands still."""

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class Progress:
    """Of the present state."""

    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class Job:
    """A job as the database knows it."""

    tenant: str
    job_id: str
    spec: Spec
    state: State
    error: JobError | None
    progress: Progress | None
    step: int
    remaining_seconds: float
    metrics: Mapping[str, float]
    forecast: Json | None
    best_checkpoint_id: str
    promoted_checkpoint_id: str
    model: str
    dataset_digest: str
    base_version: str
    attempts: int
    last_event: int
    queue_position: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    cancel_requested: bool
    pause_requested: bool


class Kind(enum.StrEnum):
    """What an event is about."""

    STATE = "state"
    METRICS = "metrics"
    PREVIEW = "preview"
    CHECKPOINT = "checkpoint"
    ALARM = "alarm"
    LOG = "log"
    PUBLISHED = "published"
    PROGRESS = "progress"


@dataclass(frozen=True)
class Happening:
    """An event that has no number yet."""

    kind: Kind
    data: Json


@dataclass(frozen=True)
class Event:
    """An event of a job."""

    number: int
    """1, 2, 3 … without a gap within a job."""
    time: datetime
    kind: Kind
    data: Json
