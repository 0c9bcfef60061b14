"""Content with its rows: kept before it is held, removed when nobody holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.database.upsert import add_missing, upsert
from services.finetune.database.schema import BLOBS, DATASET_FILES
from services.finetune.datasets.storage.content import Content, Kept

T = TypeVar("T")

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Content that was last wanted then, and that nobody holds, is removed at once."""
UNHELD_SECONDS = 3600.0
"""How long content may be kept before a data set holds it; a check writes its last row well within."""
_ROWS = 500
"""Rows of one statement."""
_REMOVED = 100
"""Files of one transaction that removes them; others wait for it."""
_THREADS = 8


@dataclass(frozen=True)
class Piece:
    """A file that is to be kept."""

    sha256: str
    size_bytes: int
    source: Path


class Keeper:
    """Keeps and removes; two that do so at once are kept apart by the rows of ``blobs``.

    A row is there before its file, and is removed, locked, after it: who wants to keep content that is
    just being removed waits for that row and then keeps it anew.
    """

    def __init__(self, database: Database, content: Content) -> None:
        self._database = database
        self._content = content

    def keep(self, tenant: str, pieces: Sequence[Piece], kept: Callable[[int], None]) -> None:
        """Store ``pieces``; calls ``kept`` with how many are. A data set must hold them soon."""
        done = 0
        for part in _parts(pieces):
            self._database.write(partial(_want, tenant, part))
            # Waiting for the disk takes most of the time, and costs no more for many files at once.
            with ThreadPoolExecutor(_THREADS) as threads:
                for _ in threads.map(partial(self._put, tenant), part):
                    done += 1
                    kept(done)
            self._content.settle(tenant, {piece.sha256 for piece in part})

    def sweep(self) -> int:
        """Remove what nobody holds and nobody lately wanted to keep; returns how many files that were."""
        removed = 0
        while count := self._database.write(self._sweep_some):
            removed += count
        return removed

    def unwanted(self) -> Sequence[tuple[str, str, int]]:
        """What ``sweep`` would remove: tenant, hash and bytes of each."""
        query = select(BLOBS.c.tenant, BLOBS.c.sha256, BLOBS.c.size_bytes).where(_unwanted())
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [(row.tenant, row.sha256, row.size_bytes) for row in rows]

    def adopt(self, found: Sequence[Kept]) -> None:
        """Give content without a row one that says that nobody wants it; rows that are there stay."""
        rows = [
            {"tenant": each.tenant, "sha256": each.sha256, "size_bytes": each.size_bytes} for each in found
        ]
        for part in _parts(rows):
            self._database.write(partial(add_missing, table=BLOBS, rows=part, more={"touched_at": LONG_AGO}))

    def _sweep_some(self, connection: Connection) -> int:
        query = select(BLOBS.c.tenant, BLOBS.c.sha256).where(_unwanted()).limit(_REMOVED)
        found = [(row.tenant, row.sha256) for row in connection.execute(query)]
        if found:
            connection.execute(delete(BLOBS).where(tuple_(BLOBS.c.tenant, BLOBS.c.sha256).in_(found)))
        # The rows are locked from here to the commit. Should that fail, the rows stand for content that
        # nobody holds: whoever comes to want it puts it there again.
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(lambda place: self._content.remove(*place), found))
        return len(found)

    def _put(self, tenant: str, piece: Piece) -> None:
        self._content.put(tenant, piece.sha256, piece.source)


def _want(tenant: str, pieces: Sequence[Piece], connection: Connection) -> None:
    sizes = {piece.sha256: piece.size_bytes for piece in pieces}
    values = [{"tenant": tenant, "sha256": key, "size_bytes": size} for key, size in sorted(sizes.items())]
    upsert(connection, BLOBS, values, {"touched_at": now()})


def _unwanted() -> ColumnElement[bool]:
    held = select(DATASET_FILES.c.sha256).where(
        DATASET_FILES.c.tenant == BLOBS.c.tenant, DATASET_FILES.c.sha256 == BLOBS.c.sha256
    )
    return (BLOBS.c.touched_at < now(-UNHELD_SECONDS)) & ~held.exists()


def _parts(pieces: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(pieces), _ROWS):
        yield pieces[start : start + _ROWS]
