"""Jobs and their events."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
)

revision = "0002"
down_revision = "0001"
works_with = "0001"
"""The oldest revision whose program may use the database after this one."""


def upgrade() -> None:
    """Create the tables. Times are microseconds since 1970."""
    op.create_table(
        "jobs",
        Column("tenant", String(128), nullable=False),
        Column("job_id", String(32), nullable=False),
        *_asked(),
        *_standing(),
        *_worked_on(),
        PrimaryKeyConstraint("tenant", "job_id", name="pk_jobs"),
        CheckConstraint(
            "state NOT IN ('preparing', 'running', 'evaluating') OR lease_until IS NOT NULL",
            name="ck_jobs_worked_on_under_a_lease",
        ),
    )
    op.create_index("ix_jobs_newest", "jobs", ["tenant", "created_at", "job_id"])
    op.create_index("ix_jobs_waiting", "jobs", ["state", "priority", "created_at"])
    op.create_index("uq_jobs_request", "jobs", ["tenant", "request_id"], unique=True)
    op.create_table(
        "job_events",
        Column("tenant", String(128), nullable=False),
        Column("job_id", String(32), nullable=False),
        Column("number", Integer, nullable=False),
        Column("happened_at", BigInteger, nullable=False),
        Column("kind", String(16), nullable=False),
        Column("data", JSON, nullable=False),
        PrimaryKeyConstraint("tenant", "job_id", "number", name="pk_job_events"),
        ForeignKeyConstraint(
            ["tenant", "job_id"],
            ["jobs.tenant", "jobs.job_id"],
            name="fk_job_events_jobs",
            ondelete="CASCADE",
        ),
    )


def _asked() -> list[Column[object]]:
    return [
        Column("spec", JSON, nullable=False),
        Column("recipe", String(64), nullable=False),
        Column("priority", Integer, nullable=False),
        Column("executor", String(16), nullable=False),
        Column("accelerators", Integer, nullable=False),
        Column("request_id", String(64)),
        Column("request_sha256", String(64), nullable=False),
    ]


def _standing() -> list[Column[object]]:
    return [
        Column("state", String(16), nullable=False),
        Column("error", JSON),
        Column("progress", JSON),
        Column("step", Integer, nullable=False),
        Column("remaining_seconds", Double, nullable=False),
        Column("metrics", JSON, nullable=False),
        Column("forecast", JSON),
        Column("best_checkpoint_id", String(64), nullable=False),
        Column("promoted_checkpoint_id", String(64), nullable=False),
        Column("model", Text, nullable=False),
        Column("dataset_digest", String(64), nullable=False),
        Column("base_version", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("vain_attempts", Integer, nullable=False),
        Column("last_event", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("cancel_requested", Boolean, nullable=False),
        Column("pause_requested", Boolean, nullable=False),
    ]


def _worked_on() -> list[Column[object]]:
    return [
        Column("lease_owner", String(64)),
        Column("lease_until", BigInteger),
        Column("epoch", Integer, nullable=False),
        Column("handle", Text, nullable=False),
    ]
