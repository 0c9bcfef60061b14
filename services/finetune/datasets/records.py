"""Data sets in the database: created, listed, held by jobs, deleted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from services.common.database.clock import now
from services.common.database.database import Database
from services.finetune.database.schema import BLOBS, DATASET_FILES, DATASET_HOLDS, DATASETS
from services.finetune.datasets import rows
from services.finetune.datasets.dataset import (
    Dataset,
    Kind,
    Options,
    Role,
    State,
    StoredFile,
    new_dataset_id,
)
from services.finetune.datasets.faults import id_reused, in_use, not_ready
from services.finetune.datasets.storage.keeping import LONG_AGO


@dataclass(frozen=True)
class Page:
    """Data sets, newest first; ``more``: there are others after the last."""

    datasets: Sequence[Dataset]
    more: bool
    used_bytes: int


class DatasetRecords:
    """What is known of data sets. ``quota_bytes``: what one tenant may keep; 0 is no limit."""

    def __init__(self, database: Database, quota_bytes: int) -> None:
        self.database = database
        self.quota_bytes = quota_bytes

    def create_import(self, tenant: str, options: Options, uri: str, request_id: str) -> Dataset:
        """A data set in state IMPORTING; the one that ``request_id`` made before, where there is one.

        Raises ALREADY_EXISTS when that one asked for something else.
        """
        sha256 = fingerprint({"uri": uri, **described(options)})

        def task(connection: Connection) -> Dataset:
            if request_id:
                mine = (DATASETS.c.tenant == tenant) & (DATASETS.c.request_id == request_id)
                known = connection.execute(select(DATASETS).where(mine)).mappings().one_or_none()
                if known is not None:
                    if known["request_sha256"] != sha256:
                        raise id_reused("request_id", request_id, "fields")
                    return rows.dataset_of(known)
            values = {"source_uri": uri, "request_id": request_id or None, "request_sha256": sha256}
            return insert_dataset(connection, tenant, options, State.IMPORTING, values)

        return self.database.write(task)

    def get(self, tenant: str, dataset_id: str) -> Dataset:
        """One data set. Raises NOT_FOUND."""
        return self.database.read(lambda connection: rows.get(connection, tenant, dataset_id))

    def page(
        self,
        tenant: str,
        size: int,
        after: tuple[datetime, str] | None = None,
        kind: Kind | None = None,
        state: State | None = None,
    ) -> Page:
        """``size`` data sets older than ``after`` (creation time, id), only of ``kind`` and ``state``."""
        query = select(DATASETS).where(DATASETS.c.tenant == tenant)
        if after is not None:
            created_at, dataset_id = after
            same = (DATASETS.c.created_at == created_at) & (DATASETS.c.dataset_id < dataset_id)
            query = query.where((DATASETS.c.created_at < created_at) | same)
        if kind is not None:
            query = query.where(DATASETS.c.kind == kind.value)
        if state is not None:
            query = query.where(DATASETS.c.state == state.value)
        query = query.order_by(DATASETS.c.created_at.desc(), DATASETS.c.dataset_id.desc()).limit(size + 1)

        def task(connection: Connection) -> Page:
            found = [rows.dataset_of(row) for row in connection.execute(query).mappings()]
            return Page(found[:size], len(found) > size, rows.used_bytes(connection, tenant))

        return self.database.read(task)

    def files(self, tenant: str, dataset_id: str) -> tuple[Dataset, list[StoredFile]]:
        """A READY data set and its files by path. Raises NOT_FOUND, or FAILED_PRECONDITION for others."""
        mine = (DATASET_FILES.c.tenant == tenant) & (DATASET_FILES.c.dataset_id == dataset_id)

        def task(connection: Connection) -> tuple[Dataset, list[StoredFile]]:
            dataset = rows.get(connection, tenant, dataset_id)
            if dataset.state is not State.READY:
                raise not_ready(dataset_id, dataset.state.value, dataset.error)
            found = connection.execute(select(DATASET_FILES).where(mine).order_by(DATASET_FILES.c.path))
            files = [StoredFile(r.path, Role(r.role), r.sha256, r.size_bytes) for r in found]
            return dataset, files

        return self.database.read(task)

    def delete(self, tenant: str, dataset_id: str, check: Callable[[Connection], None] | None = None) -> int:
        """Forget a data set; what works on it stops. Returns the bytes that nothing holds any more.

        ``check`` may raise in the same transaction, and nothing happens then. Raises NOT_FOUND, or
        FAILED_PRECONDITION while somebody holds it.
        """

        def task(connection: Connection) -> int:
            rows.get(connection, tenant, dataset_id)
            if check is not None:
                check(connection)
            holds = (DATASET_HOLDS.c.tenant == tenant) & (DATASET_HOLDS.c.dataset_id == dataset_id)
            holders = connection.scalars(select(DATASET_HOLDS.c.holder).where(holds)).all()
            if holders:
                raise in_use(dataset_id, sorted(holders))
            freed = _release_content(connection, tenant, dataset_id)
            connection.execute(delete(DATASETS).where(rows.this(tenant, dataset_id)))
            return freed

        return self.database.write(task)


def insert_dataset(
    connection: Connection, tenant: str, options: Options, state: State, values: Mapping[str, Any]
) -> Dataset:
    """A new data set in ``state``; ``values`` are columns beyond what ``options`` say."""
    dataset_id = new_dataset_id()
    fresh = {
        **{"source_uri": "", "request_sha256": "", "digest": "", "error": ""},
        **{"size_bytes": 0, "reserved_bytes": 0, "epoch": 0, "attempts": 0},
        **described(options),
        **values,
    }
    row = {"tenant": tenant, "dataset_id": dataset_id, "state": state.value, "created_at": now(), **fresh}
    connection.execute(insert(DATASETS).values(row))
    return rows.get(connection, tenant, dataset_id)


def hold(connection: Connection, tenant: str, dataset_id: str, holder: str) -> Dataset:
    """Keep a data set from being deleted until ``holder`` ("job NAME") lets it go.

    Part of the caller's transaction. Raises NOT_FOUND, or FAILED_PRECONDITION when it is not READY.
    """
    dataset = rows.get(connection, tenant, dataset_id)
    if dataset.state is not State.READY:
        raise not_ready(dataset_id, dataset.state.value, dataset.error)
    row = {"tenant": tenant, "dataset_id": dataset_id, "holder": holder}
    held = select(DATASET_HOLDS.c.holder).filter_by(**row)
    if connection.execute(held).first() is None:
        connection.execute(insert(DATASET_HOLDS).values(row))
    return dataset


def let_go(connection: Connection, tenant: str, dataset_id: str, holder: str) -> None:
    """Undo ``hold``; nothing happens when it was undone before."""
    held = (DATASET_HOLDS.c.tenant == tenant) & (DATASET_HOLDS.c.dataset_id == dataset_id)
    connection.execute(delete(DATASET_HOLDS).where(held, DATASET_HOLDS.c.holder == holder))


def let_go_of_all(connection: Connection, tenant: str, holder: str) -> None:
    """Undo every ``hold`` of ``holder``."""
    mine = (DATASET_HOLDS.c.tenant == tenant) & (DATASET_HOLDS.c.holder == holder)
    connection.execute(delete(DATASET_HOLDS).where(mine))


def described(options: Options) -> dict[str, Any]:
    """The columns that ``options`` fill."""
    return {
        "display_name": options.display_name,
        "kind": options.kind.value,
        "bad_files": options.bad_files.value,
        "labels": dict(options.labels),
    }


def fingerprint(request: Mapping[str, Any]) -> str:
    """SHA-256 of what a call asked for, by which a repeated one is known."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _release_content(connection: Connection, tenant: str, dataset_id: str) -> int:
    """Take the files from a data set; content that only it held is marked as unwanted for long."""
    mine = (DATASET_FILES.c.tenant == tenant) & (DATASET_FILES.c.dataset_id == dataset_id)
    held_here = select(DATASET_FILES.c.sha256).where(mine)
    other = DATASET_FILES.alias()
    held_elsewhere = select(other.c.sha256).where(
        other.c.tenant == tenant, other.c.sha256 == BLOBS.c.sha256, other.c.dataset_id != dataset_id
    )
    alone = (BLOBS.c.tenant == tenant) & BLOBS.c.sha256.in_(held_here) & ~held_elsewhere.exists()
    freed = connection.scalar(select(func.coalesce(func.sum(BLOBS.c.size_bytes), 0)).where(alone))
    connection.execute(update(BLOBS).where(alone).values(touched_at=LONG_AGO))
    connection.execute(delete(DATASET_FILES).where(mine))
    return int(freed or 0)
