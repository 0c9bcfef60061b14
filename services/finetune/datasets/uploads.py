"""Uploads: begun, gone on with after a break, completed into a data set, expired."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Delete, RowMapping, Update, delete, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.errors import invalid
from services.finetune.database.schema import UPLOADS
from services.finetune.datasets import rows
from services.finetune.datasets.dataset import Dataset, Options, State
from services.finetune.datasets.faults import (
    id_reused,
    not_found,
    upload_in_progress,
    upload_incomplete,
)
from services.finetune.datasets.records import DatasetRecords, described, fingerprint, insert_dataset
from services.finetune.datasets.storage.arrivals import Arrival, ExpectedFile, Receiver, claimed


@dataclass(frozen=True)
class Start:
    """How a caller begins an upload or goes on with one."""

    upload_id: str
    options: Options
    files: Sequence[ExpectedFile]
    offset: int = 0

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """What must be the same each time the upload goes on."""
        return fingerprint({"files": [asdict(file) for file in self.files], **described(self.options)})


@dataclass(frozen=True)
class Standing:
    """How far an upload has come, in bytes. ``dataset`` is set, and ``expires_at`` not, once complete."""

    offset: int
    size_bytes: int
    expires_at: datetime | None
    dataset: Dataset | None


class Stream:
    """One stream of an upload, the only one of it at that time; blocking."""

    def __init__(self, uploads: Uploads, tenant: str, start: Start, arrival: Arrival) -> None:
        self._uploads = uploads
        self._tenant = tenant
        self._start = start
        self._receiver = Receiver(arrival)

    def write(self, chunk: bytes) -> None:
        """Take bytes of the joined files. Raises INVALID_ARGUMENT as ``Receiver.write``."""
        self._receiver.write(chunk)

    def finish(self) -> Dataset:
        """The data set, once everything has come. Raises FAILED_PRECONDITION with the offset when not."""
        if self._receiver.offset < self._start.size_bytes:
            raise upload_incomplete(self._receiver.offset, self._start.size_bytes)
        return self._uploads.complete(self._tenant, self._start)

    def close(self) -> None:
        """The stream has ended, somehow; what came is kept."""
        self._receiver.close()


class Uploads:
    """Uploads of every tenant; their bytes lie under ``folder``, for ``seconds`` after the last stream."""

    def __init__(self, records: DatasetRecords, folder: Path, seconds: float) -> None:
        self._records = records
        self._database: Database = records.database
        self._folder = folder
        self._seconds = seconds

    @contextlib.contextmanager
    def stream(self, tenant: str, start: Start) -> Iterator[Stream | Dataset]:
        """The upload, ready for bytes from ``start.offset`` on, or the data set it became before.

        Raises ALREADY_EXISTS for an id that began with other files, INVALID_ARGUMENT for another
        offset, RESOURCE_EXHAUSTED for too many bytes, ABORTED while another stream sends it.
        """
        finished = self._database.write(lambda connection: self._begin(connection, tenant, start))
        if finished is not None:
            yield finished
            return
        folder = self.folder_of(tenant, start.upload_id)
        with claimed(folder) as ours:
            if not ours:
                raise upload_in_progress(start.upload_id)
            # Another stream may have completed it before this one had its turn.
            row = self._row(tenant, start.upload_id)
            if row["dataset_id"] is not None:
                yield self._records.get(tenant, row["dataset_id"])
                return
            stream = Stream(self, tenant, start, _arrival(folder, start))
            try:
                yield stream
            finally:
                stream.close()
                self._extend(tenant, start.upload_id)

    def standing(self, tenant: str, upload_id: str) -> Standing:
        """How far an upload has come. Raises NOT_FOUND."""
        row = self._row(tenant, upload_id)
        size = row["size_bytes"]
        if row["dataset_id"] is not None:
            return Standing(size, size, None, self._records.get(tenant, row["dataset_id"]))
        arrival = Arrival.open(self.folder_of(tenant, upload_id))
        return Standing(arrival.offset() if arrival else 0, size, row["expires_at"], None)

    def complete(self, tenant: str, start: Start) -> Dataset:
        """Make a data set of an upload whose bytes have all come; the same one when asked again."""
        mine = _this(tenant, start.upload_id)

        def task(connection: Connection) -> Dataset:
            row = connection.execute(select(UPLOADS).where(mine)).mappings().one()
            if row["dataset_id"] is not None:
                return rows.get(connection, tenant, row["dataset_id"])
            values = {"reserved_bytes": start.size_bytes}
            dataset = insert_dataset(connection, tenant, start.options, State.CHECKING, values)
            connection.execute(update(UPLOADS).where(mine).values(dataset_id=dataset.dataset_id))
            return dataset

        return self._database.write(task)

    def folder_of(self, tenant: str, upload_id: str) -> Path:
        """Where its bytes lie while they arrive."""
        return self._folder / tenant / upload_id

    def folder_of_dataset(self, tenant: str, dataset_id: str) -> Path | None:
        """Where the bytes lie that became a data set; None when it is gone."""
        query = select(UPLOADS.c.upload_id).where(
            UPLOADS.c.tenant == tenant, UPLOADS.c.dataset_id == dataset_id
        )
        upload_id = self._database.read(lambda connection: connection.scalar(query))
        return None if upload_id is None else self.folder_of(tenant, upload_id)

    def expire(self) -> int:
        """Throw away what nobody went on with in time; returns how many uploads that were."""
        late = (UPLOADS.c.expires_at < now()) & UPLOADS.c.dataset_id.is_(None)
        query = select(UPLOADS.c.tenant, UPLOADS.c.upload_id).where(late)
        found = self._database.read(lambda connection: connection.execute(query).all())
        removed = 0
        for tenant, upload_id in found:
            folder = self.folder_of(tenant, upload_id)
            with claimed(folder) as ours:
                if not ours:
                    continue
                gone = partial(_execute, delete(UPLOADS).where(_this(tenant, upload_id), late))
                if self._database.write(gone):
                    Arrival(folder, ()).remove()
                    removed += 1
        return removed

    def _begin(self, connection: Connection, tenant: str, start: Start) -> Dataset | None:
        """The row of the upload, new or known; returns the data set that it became."""
        row = connection.execute(select(UPLOADS).where(_this(tenant, start.upload_id))).mappings().first()
        if row is None:
            rows.check_room(connection, tenant, start.size_bytes, self._records.quota_bytes)
            values = {
                "tenant": tenant,
                "upload_id": start.upload_id,
                "request_sha256": start.fingerprint,
                "size_bytes": start.size_bytes,
                "expires_at": now(self._seconds),
            }
            connection.execute(insert(UPLOADS).values(values))
            return None
        if row["request_sha256"] != start.fingerprint:
            raise id_reused("start.upload_id", start.upload_id, "files or options")
        if row["dataset_id"] is not None:
            return rows.get(connection, tenant, row["dataset_id"])
        connection.execute(_extended(tenant, start.upload_id, self._seconds))
        return None

    def _row(self, tenant: str, upload_id: str) -> RowMapping:
        query = select(UPLOADS).where(_this(tenant, upload_id))
        row = self._database.read(lambda connection: connection.execute(query).mappings().one_or_none())
        if row is None:
            raise not_found("upload", upload_id)
        return row

    def _extend(self, tenant: str, upload_id: str) -> None:
        self._database.write(partial(_execute, _extended(tenant, upload_id, self._seconds)))


def _this(tenant: str, upload_id: str) -> ColumnElement[bool]:
    return (UPLOADS.c.tenant == tenant) & (UPLOADS.c.upload_id == upload_id)


def _extended(tenant: str, upload_id: str, seconds: float) -> Update:
    return update(UPLOADS).where(_this(tenant, upload_id)).values(expires_at=now(seconds))


def _execute(statement: Update | Delete, connection: Connection) -> int:
    """The number of rows that it changed."""
    return connection.execute(statement).rowcount


def _arrival(folder: Path, start: Start) -> Arrival:
    """What has come, as far as the caller goes on from there; nothing when he begins anew."""
    arrival = Arrival.open(folder) or Arrival.create(folder, start.files)
    kept = arrival.offset()
    if start.offset == 0 and kept:
        arrival.forget()
    elif start.offset != kept:
        raise invalid("start.offset", f"{start.offset} is neither 0 nor {kept}, the bytes that are kept")
    return arrival
