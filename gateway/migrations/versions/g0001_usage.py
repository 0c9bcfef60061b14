"""What was used."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, PrimaryKeyConstraint, String

revision = "g0001"
down_revision = None
works_with = "g0001"
"""The oldest revision whose program may use the database after this one."""


def upgrade() -> None:
    """One row for an hour, a key, a model and a method. Times are microseconds since 1970."""
    op.create_table(
        "usage",
        Column("hour", BigInteger, nullable=False),
        Column("tenant", String(128), nullable=False),
        Column("key_name", String(128), nullable=False),
        Column("model", String(256), nullable=False),
        Column("method", String(256), nullable=False),
        Column("calls", BigInteger, nullable=False),
        Column("failed", BigInteger, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),
        Column("steps", BigInteger, nullable=False),
        Column("compute_ms", Double, nullable=False),
        PrimaryKeyConstraint("hour", "tenant", "key_name", "model", "method", name="pk_usage"),
    )
