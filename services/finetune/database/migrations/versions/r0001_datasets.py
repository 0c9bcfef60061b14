"""Data sets, their files and their uploads."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
)

revision = "0001"
down_revision = None
works_with = "0001"
"""The oldest revision whose program may use the database after this one."""


def upgrade() -> None:
    """Create the tables. Times are microseconds since 1970."""
    _datasets()
    _uploads()
    _content()


def _datasets() -> None:
    op.create_table(
        "datasets",
        Column("tenant", String(128), nullable=False),
        Column("dataset_id", String(32), nullable=False),
        Column("display_name", Text, nullable=False),
        Column("kind", String(16), nullable=False),
        Column("state", String(16), nullable=False),
        Column("bad_files", String(16), nullable=False),
        Column("labels", JSON, nullable=False),
        Column("source_uri", Text, nullable=False),
        Column("digest", String(64), nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("reserved_bytes", BigInteger, nullable=False),
        Column("report", JSON),
        Column("error", Text, nullable=False),
        Column("progress", JSON),
        Column("created_at", BigInteger, nullable=False),
        Column("request_id", String(64)),
        Column("request_sha256", String(64), nullable=False),
        Column("lease_owner", String(64)),
        Column("lease_until", BigInteger),
        Column("epoch", Integer, nullable=False),
        Column("attempts", Integer, nullable=False),
        PrimaryKeyConstraint("tenant", "dataset_id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_newest", "datasets", ["tenant", "created_at", "dataset_id"])
    op.create_index("ix_datasets_unfinished", "datasets", ["state", "lease_until"])
    op.create_index("uq_datasets_request", "datasets", ["tenant", "request_id"], unique=True)
    op.create_table(
        "dataset_holds",
        Column("tenant", String(128), nullable=False),
        Column("dataset_id", String(32), nullable=False),
        Column("holder", String(128), nullable=False),
        PrimaryKeyConstraint("tenant", "dataset_id", "holder", name="pk_dataset_holds"),
        _of_dataset("dataset_holds"),
    )


def _uploads() -> None:
    op.create_table(
        "uploads",
        Column("tenant", String(128), nullable=False),
        Column("upload_id", String(64), nullable=False),
        Column("request_sha256", String(64), nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("dataset_id", String(32)),
        PrimaryKeyConstraint("tenant", "upload_id", name="pk_uploads"),
        _of_dataset("uploads", ondelete="CASCADE"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_index("ix_uploads_dataset", "uploads", ["tenant", "dataset_id"])


def _content() -> None:
    op.create_table(
        "blobs",
        Column("tenant", String(128), nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("touched_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "sha256", name="pk_blobs"),
    )
    op.create_index("ix_blobs_touched_at", "blobs", ["touched_at"])
    op.create_table(
        "dataset_files",
        Column("tenant", String(128), nullable=False),
        Column("dataset_id", String(32), nullable=False),
        Column("path", Text, nullable=False),
        Column("role", String(16), nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        PrimaryKeyConstraint("tenant", "dataset_id", "path", name="pk_dataset_files"),
        _of_dataset("dataset_files", ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["tenant", "sha256"], ["blobs.tenant", "blobs.sha256"], name="fk_dataset_files_blobs"
        ),
    )
    op.create_index("ix_dataset_files_sha256", "dataset_files", ["tenant", "sha256"])


def _of_dataset(table: str, ondelete: str | None = None) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant", "dataset_id"],
        ["datasets.tenant", "datasets.dataset_id"],
        name=f"fk_{table}_datasets",
        ondelete=ondelete,
    )
