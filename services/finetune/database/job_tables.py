"""The tables of jobs. A job that somebody works on has a lease; ``epoch`` grows with every claim."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from services.finetune.database.clock import Instant
from services.finetune.database.schema import METADATA

JOBS = Table(
    "jobs",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("job_id", String(32), primary_key=True),
    Column("spec", JSON, nullable=False),
    # What lists are filtered and the queue is ordered by, besides the spec.
    Column("recipe", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("executor", String(16), nullable=False),
    Column("accelerators", Integer, nullable=False),
    # Key that makes creating safe to repeat, and the hash of what was asked for.
    Column("request_id", String(64)),
    Column("request_sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("progress", JSON(none_as_null=True)),
    Column("step", Integer, nullable=False),
    Column("remaining_seconds", Double, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("forecast", JSON(none_as_null=True)),
    Column("best_checkpoint_id", String(64), nullable=False),
    Column("promoted_checkpoint_id", String(64), nullable=False),
    Column("model", Text, nullable=False),
    Column("dataset_digest", String(64), nullable=False),
    Column("base_version", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Attempts since the last step that counted: a job that kills whoever runs it does not go on for ever.
    Column("vain_attempts", Integer, nullable=False),
    Column("last_event", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("cancel_requested", Boolean, nullable=False),
    Column("pause_requested", Boolean, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", Instant),
    Column("epoch", Integer, nullable=False),
    # What the executor calls the run of this epoch.
    Column("handle", Text, nullable=False),
    CheckConstraint(
        "state NOT IN ('preparing', 'running', 'evaluating') OR lease_until IS NOT NULL",
        name="ck_jobs_worked_on_under_a_lease",
    ),
    Index("ix_jobs_newest", "tenant", "created_at", "job_id"),
    Index("ix_jobs_waiting", "state", "priority", "created_at"),
    Index("uq_jobs_request", "tenant", "request_id", unique=True),
)

JOB_EVENTS = Table(
    "job_events",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("job_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("happened_at", Instant, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    ForeignKeyConstraint(["tenant", "job_id"], ["jobs.tenant", "jobs.job_id"], ondelete="CASCADE"),
)
