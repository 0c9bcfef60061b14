"""What limits of keys have left, where several gateways share them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, PrimaryKeyConstraint, String

revision = "g0002"
down_revision = "g0001"
works_with = "g0001"
"""The oldest revision whose program may use the database after this one."""


def upgrade() -> None:
    """A row for each rate of an account, and one for the places that each gateway holds of it."""
    op.create_table(
        "limit_buckets",
        Column("tenant", String(128), nullable=False),
        Column("key_name", String(128), nullable=False),
        Column("limit_name", String(64), nullable=False),
        Column("level", Double, nullable=False),
        Column("at", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "key_name", "limit_name", name="pk_limit_buckets"),
    )
    op.create_table(
        "limit_slots",
        Column("tenant", String(128), nullable=False),
        Column("key_name", String(128), nullable=False),
        Column("gateway", String(64), nullable=False),
        Column("held", Integer, nullable=False),
        Column("until", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "key_name", "gateway", name="pk_limit_slots"),
    )
