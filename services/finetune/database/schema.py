"""The tables as queries see them; how they came to be stands in ``migrations/``. A tenant on every row."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from services.common.database.clock import Instant

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(column_0_label)s",
    }
)

DATASETS = Table(
    "datasets",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("dataset_id", String(32), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("bad_files", String(16), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    # Bytes that count against the quota while the files are on their way; 0 once they are kept.
    Column("reserved_bytes", BigInteger, nullable=False),
    Column("report", JSON(none_as_null=True)),
    Column("error", Text, nullable=False),
    Column("progress", JSON(none_as_null=True)),
    Column("created_at", Instant, nullable=False),
    # Key of an import that makes it safe to repeat, and the hash of what it asked for.
    Column("request_id", String(64)),
    Column("request_sha256", String(64), nullable=False),
    # Who works on it, until when; every write of a worker carries the epoch, which each claim raises.
    Column("lease_owner", String(64)),
    Column("lease_until", Instant),
    Column("epoch", Integer, nullable=False),
    # Claims that did not end well; a data set that brings every worker down is given up.
    Column("attempts", Integer, nullable=False),
    Index("ix_datasets_newest", "tenant", "created_at", "dataset_id"),
    Index("ix_datasets_unfinished", "state", "lease_until"),
    Index("uq_datasets_request", "tenant", "request_id", unique=True),
)

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("upload_id", String(64), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
    # Set once all bytes have come.
    Column("dataset_id", String(32)),
    ForeignKeyConstraint(
        ["tenant", "dataset_id"], ["datasets.tenant", "datasets.dataset_id"], ondelete="CASCADE"
    ),
    Index("ix_uploads_expires_at", "expires_at"),
    Index("ix_uploads_dataset", "tenant", "dataset_id"),
)

# Content that is kept once a tenant, however many of its data sets hold it.
BLOBS = Table(
    "blobs",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    # When somebody last meant to keep it: what nobody holds is removed some time later.
    Column("touched_at", Instant, nullable=False),
    Index("ix_blobs_touched_at", "touched_at"),
)

DATASET_FILES = Table(
    "dataset_files",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("dataset_id", String(32), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "dataset_id"], ["datasets.tenant", "datasets.dataset_id"], ondelete="CASCADE"
    ),
    ForeignKeyConstraint(["tenant", "sha256"], ["blobs.tenant", "blobs.sha256"]),
    Index("ix_dataset_files_sha256", "tenant", "sha256"),
)

# Who still needs a data set, for example a job that has not ended: it cannot be deleted meanwhile.
DATASET_HOLDS = Table(
    "dataset_holds",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("dataset_id", String(32), primary_key=True),
    Column("holder", String(128), primary_key=True),
    ForeignKeyConstraint(["tenant", "dataset_id"], ["datasets.tenant", "datasets.dataset_id"]),
)

# A job that somebody works on has a lease; ``epoch`` grows with every claim.
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
    # Reports that this epoch's worker has written: one that it repeats is known.
    Column("reports", Integer, nullable=False, server_default="0"),
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

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("job_id", String(32), primary_key=True),
    Column("checkpoint_id", String(64), primary_key=True),
    Column("step", BigInteger, nullable=False),
    # 0: not ranked.
    Column("rank", Integer, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("veto_reason", Text, nullable=False),
    Column("best", Boolean, nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("previews", JSON, nullable=False),
    # 0: its files are gone, the scores are kept.
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["tenant", "job_id"], ["jobs.tenant", "jobs.job_id"], ondelete="CASCADE"),
)

# The version of a model that a checkpoint becomes: set aside first, so that it is one whoever publishes it.
PROMOTIONS = Table(
    "promotions",
    METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("job_id", String(32), primary_key=True),
    Column("checkpoint_id", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("manifest", JSON, nullable=False),
    # The alias that moved with it, and what it named before.
    Column("alias", String(64), nullable=False),
    Column("previous_version", String(64), nullable=False),
    Column("published", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["tenant", "job_id"], ["jobs.tenant", "jobs.job_id"], ondelete="CASCADE"),
    Index("uq_promotions_version", "name", "version", unique=True),
)

# What a webhook is still to be told; outlives its job.
DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("delivery_id", String(36), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("job_id", String(32), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("ix_deliveries_due_at", "due_at"),
)
