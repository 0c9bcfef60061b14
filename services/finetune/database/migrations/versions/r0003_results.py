"""What comes of jobs: checkpoints, promotions, and what webhooks are still to be told."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
)

revision = "0003"
down_revision = "0002"
works_with = "0002"
"""The oldest revision whose program may use the database after this one."""


def upgrade() -> None:
    """Create the tables; a job counts the reports of its worker. Times are microseconds since 1970."""
    op.add_column("jobs", Column("reports", Integer, nullable=False, server_default="0"))
    _checkpoints()
    _promotions()
    op.create_table(
        "deliveries",
        Column("delivery_id", String(36), nullable=False),
        Column("tenant", String(128), nullable=False),
        Column("job_id", String(32), nullable=False),
        Column("url", Text, nullable=False),
        Column("secret", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("due_at", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_due_at", "deliveries", ["due_at"])


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        Column("tenant", String(128), nullable=False),
        Column("job_id", String(32), nullable=False),
        Column("checkpoint_id", String(64), nullable=False),
        Column("step", BigInteger, nullable=False),
        Column("rank", Integer, nullable=False),
        Column("scores", JSON, nullable=False),
        Column("veto_reason", Text, nullable=False),
        Column("best", Boolean, nullable=False),
        Column("promoted", Boolean, nullable=False),
        Column("previews", JSON, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("digest", String(64), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "job_id", "checkpoint_id", name="pk_checkpoints"),
        _of_job("checkpoints"),
    )


def _promotions() -> None:
    op.create_table(
        "promotions",
        Column("tenant", String(128), nullable=False),
        Column("job_id", String(32), nullable=False),
        Column("checkpoint_id", String(64), nullable=False),
        Column("name", String(128), nullable=False),
        Column("version", String(64), nullable=False),
        Column("manifest", JSON, nullable=False),
        Column("alias", String(64), nullable=False),
        Column("previous_version", String(64), nullable=False),
        Column("published", Boolean, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "job_id", "checkpoint_id", "name", name="pk_promotions"),
        _of_job("promotions"),
    )
    op.create_index("uq_promotions_version", "promotions", ["name", "version"], unique=True)


def _of_job(table: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant", "job_id"], ["jobs.tenant", "jobs.job_id"], name=f"fk_{table}_jobs", ondelete="CASCADE"
    )
