"""Data sets between rows and plain Python, and the sums over rows that the quota asks for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, func, select
from sqlalchemy.sql.elements import ColumnElement

from services.finetune.database.schema import BLOBS, DATASET_FILES, DATASETS, UPLOADS
from services.finetune.datasets.dataset import BadFiles, Dataset, Kind, Progress, Report, State
from services.finetune.datasets.faults import not_found, quota_exceeded


def this(tenant: str, dataset_id: str) -> ColumnElement[bool]:
    """The row of one data set."""
    return (DATASETS.c.tenant == tenant) & (DATASETS.c.dataset_id == dataset_id)


def get(connection: Connection, tenant: str, dataset_id: str) -> Dataset:
    """One data set. Raises NOT_FOUND."""
    row = connection.execute(select(DATASETS).where(this(tenant, dataset_id))).mappings().one_or_none()
    if row is None:
        raise not_found("dataset", dataset_id)
    return dataset_of(row)


def dataset_of(row: RowMapping) -> Dataset:
    """From a row of ``datasets``."""
    return Dataset(
        tenant=row["tenant"],
        dataset_id=row["dataset_id"],
        display_name=row["display_name"],
        kind=Kind(row["kind"]),
        state=State(row["state"]),
        bad_files=BadFiles(row["bad_files"]),
        labels=row["labels"],
        source_uri=row["source_uri"],
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        report=None if row["report"] is None else Report.model_validate(row["report"]),
        error=row["error"],
        progress=None if row["progress"] is None else Progress.model_validate(row["progress"]),
        created_at=row["created_at"],
    )


def used_bytes(connection: Connection, tenant: str) -> int:
    """What counts against the quota: content that is held, once, and what has room set aside."""
    held = select(DATASET_FILES.c.sha256).where(
        DATASET_FILES.c.tenant == BLOBS.c.tenant, DATASET_FILES.c.sha256 == BLOBS.c.sha256
    )
    kept = _sum(connection, BLOBS.c.size_bytes, BLOBS.c.tenant == tenant, held.exists())
    arriving = _sum(connection, DATASETS.c.reserved_bytes, DATASETS.c.tenant == tenant)
    uploading = _sum(
        connection, UPLOADS.c.size_bytes, UPLOADS.c.tenant == tenant, UPLOADS.c.dataset_id.is_(None)
    )
    return kept + arriving + uploading


def check_room(connection: Connection, tenant: str, wanted: int, quota: int) -> None:
    """Raises RESOURCE_EXHAUSTED when ``wanted`` more bytes pass ``quota``; 0 is no limit."""
    used = used_bytes(connection, tenant)
    if quota and used + wanted > quota:
        raise quota_exceeded(wanted, used, quota)


def _sum(connection: Connection, column: ColumnElement[int], *where: ColumnElement[Any]) -> int:
    return int(connection.scalar(select(func.coalesce(func.sum(column), 0)).where(*where)) or 0)
