"""Data sets that no job names, content without a data set, uploads that nobody went on with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, exists, or_, select
from sqlalchemy.sql import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.errors import Code, ServiceError
from services.common.upkeep.collecting import Item
from services.finetune.database.schema import BLOBS, DATASETS, JOBS, UPLOADS
from services.finetune.datasets.dataset import State
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import Content, Kept
from services.finetune.datasets.storage.keeping import UNHELD_SECONDS, Keeper
from services.finetune.datasets.uploads import Uploads

_ENDED = [State.READY.value, State.FAILED.value]


class DatasetGarbage:
    """Data sets of every tenant that have ended their check, and that no job there is ever named."""

    name = "data sets"

    def __init__(self, records: DatasetRecords, keeper: Keeper, seconds: float) -> None:
        """``seconds``: for which nobody must have used one since it was made."""
        self._records, self._keeper, self._seconds = records, keeper, seconds

    def find(self, is_real: bool) -> Sequence[Item]:
        """Those without a job; due once they are old enough."""
        query = select(DATASETS).where(DATASETS.c.state.in_(_ENDED), ~_is_named())
        rows = self._records.database.read(
            lambda connection: list(connection.execute(query.order_by(DATASETS.c.created_at)).mappings())
        )
        return [self._item(row) for row in rows]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """In a transaction each, which looks for jobs again."""
        gone = [self._remove(*item.key) for item in items]
        if any(gone):
            self._keeper.sweep()
        return gone

    def _remove(self, tenant: str, dataset_id: str) -> bool:
        try:
            self._records.delete(tenant, dataset_id, partial(_check, tenant, dataset_id))
        except ServiceError as error:
            if error.code not in (Code.NOT_FOUND, Code.FAILED_PRECONDITION):
                raise
            return False
        except _Named:
            return False
        return True

    def _item(self, row: Any) -> Item:
        goes = row["created_at"] + timedelta(seconds=self._seconds)
        return Item(
            kind="data set",
            what=f"{row['dataset_id']} {row['display_name']!r}",
            size_bytes=row["size_bytes"],
            why="no job names it",
            goes_at=goes.replace(microsecond=0),
            is_due=goes.timestamp() <= time.time(),
            tenant=row["tenant"],
            key=(row["tenant"], row["dataset_id"]),
        )


class ContentGarbage:
    """Bytes that no data set holds: with a row, which the service's own sweep takes too, or without one."""

    name = "content"

    def __init__(self, database: Database, keeper: Keeper, content: Content) -> None:
        self._database, self._keeper, self._content = database, keeper, content

    def find(self, is_real: bool) -> Sequence[Item]:
        """A file without a row is one that a restored database does not know: rows come before files."""
        items = [
            _unheld(tenant, sha256, size, "no data set holds it", None)
            for tenant, sha256, size in self._keeper.unwanted()
        ]
        found, rows = list(self._content.kept()), self._rows()
        strays = [each for each in found if (each.tenant, each.sha256) not in rows]
        return items + [
            _unheld(each.tenant, each.sha256, each.size_bytes, "the database does not know it", each)
            for each in strays
            if each.changed_at < time.time() - UNHELD_SECONDS
        ]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """All by the sweep, which holds off those who want to keep the same bytes at that moment."""
        self._keeper.adopt([item.key for item in items if item.key is not None])
        self._keeper.sweep()
        left = {(each.tenant, each.sha256) for each in self._content.kept()}
        return [(item.tenant, item.what) not in left for item in items]

    def _rows(self) -> set[tuple[str, str]]:
        query = select(BLOBS.c.tenant, BLOBS.c.sha256)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {(row.tenant, row.sha256) for row in rows}


class UploadGarbage:
    """Uploads whose time is over."""

    name = "uploads"

    def __init__(self, database: Database, uploads: Uploads) -> None:
        self._database, self._uploads = database, uploads

    def find(self, is_real: bool) -> Sequence[Item]:
        """Those that the service would throw away, too."""
        late = (UPLOADS.c.expires_at < now()) & UPLOADS.c.dataset_id.is_(None)
        query = select(UPLOADS).where(late)
        rows = self._database.read(lambda connection: list(connection.execute(query).mappings()))
        return [
            Item(
                kind="upload",
                what=row["upload_id"],
                size_bytes=self._uploads.standing(row["tenant"], row["upload_id"]).offset,
                why=f"nobody went on with it before {row['expires_at']:%F %R}Z",
                goes_at=None,
                is_due=True,
                tenant=row["tenant"],
            )
            for row in rows
        ]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """All that are late now; one that goes on at this moment stays."""
        self._uploads.expire()
        query = select(UPLOADS.c.tenant, UPLOADS.c.upload_id)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        left = {(row.tenant, row.upload_id) for row in rows}
        return [(item.tenant, item.what) not in left for item in items]


class _Named(Exception):
    """A job names the data set after all."""


def _check(tenant: str, dataset_id: str, connection: Connection) -> None:
    mine = (DATASETS.c.tenant == tenant) & (DATASETS.c.dataset_id == dataset_id)
    if connection.scalar(select(DATASETS.c.dataset_id).where(mine, _is_named())):
        raise _Named


def _is_named() -> ColumnElement[bool]:
    """Whether the spec of any job, ended ones too, names the data set: its lineage can be looked up then."""
    names = [
        JOBS.c.spec[field].as_string() == DATASETS.c.dataset_id
        for field in ("dataset_id", "validation_dataset_id")
    ]
    return exists().where(JOBS.c.tenant == DATASETS.c.tenant, or_(*names))


def _unheld(tenant: str, sha256: str, size: int, why: str, stray: Kept | None) -> Item:
    return Item("content", sha256, size, why, None, is_due=True, tenant=tenant, key=stray)
