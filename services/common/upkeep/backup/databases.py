"""Databases out and in: every table as rows of JSON, seen in one moment, whatever the database.

So a copy of SQLite can be put into PostgreSQL and the other way round, and one of an older revision into a
newer program: its tables are made as that revision has them, filled, and then upgraded.
"""

from __future__ import annotations

import gzip
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Connection, MetaData, Table, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.common.database.database import Database
from services.common.database.engines import make_engine
from services.common.database.migrate import (
    HEAD,
    Schema,
    is_known,
    revision_of,
    tables_of,
    upgrade,
    wait_for_turn,
)
from services.common.upkeep.backup.archive import Archive
from services.common.upkeep.backup.contents import DatabaseCopy, Rows
from services.common.upkeep.errors import UpkeepError

_BATCH = 1000
_READ = 1 << 20


@dataclass(frozen=True)
class Place:
    """A database of the platform."""

    name: str
    url: str
    schema: Schema


def save_database(place: Place, archive: Archive) -> DatabaseCopy | None:
    """Copy every table as it is in one moment, while others write; None where there is no database yet.

    Raises UpkeepError for a schema that this program does not know.
    """
    if _is_missing(place.url):
        return None
    with tempfile.TemporaryDirectory() as folder:
        database = _opened(place)
        try:
            read = database.read(partial(_read, place, Path(folder)))
        finally:
            database.close()
        if read is None:
            return None
        revision, counts = read
        tables = [
            Rows(table=name, rows=count, piece=archive.add(_chunks(Path(folder) / name)))
            for name, count in counts.items()
        ]
    return DatabaseCopy(name=place.name, revision=revision, tables=tuple(tables))


def load_database(place: Place, copy: DatabaseCopy, archive: Archive, replace: bool) -> None:
    """Put a copy there, in one transaction, and bring it to this program's schema.

    ``replace``: what is there goes. Raises UpkeepError as ``check_room`` does, and for a newer copy.
    """
    check_known(place, copy)
    database = _opened(place)
    try:
        with database.engine.begin() as connection:
            wait_for_turn(connection)
            _check_empty(place, connection, replace)
            _drop(place.schema, connection)
            upgrade(connection, place.schema, copy.revision)
            tables = _reflected(connection, [rows.table for rows in copy.tables])
            by_name = {rows.table: rows for rows in copy.tables}
            for table in tables.sorted_tables:
                _fill(connection, table, archive, by_name[table.name])
            upgrade(connection, place.schema, HEAD)
    finally:
        database.close()


def check_known(place: Place, copy: DatabaseCopy) -> None:
    """Raises UpkeepError for a copy that a later version of this program made."""
    if not is_known(place.schema, copy.revision):
        what = f"the copy of the {place.name} database has the schema {copy.revision}"
        raise UpkeepError(f"{what}, which is newer than this program knows; restore it with a newer one")


def check_room(place: Place) -> None:
    """Raises UpkeepError for a database that holds anything."""
    if _is_missing(place.url):
        return
    database = _opened(place)
    try:
        database.read(lambda connection: _check_empty(place, connection, False))
    finally:
        database.close()


def rows_of(copy: DatabaseCopy, table: str, archive: Archive) -> Iterator[dict[str, Any]]:
    """The rows of one table, by their columns' names; none for a table that the copy has not."""
    for rows in copy.tables:
        if rows.table == table:
            yield from _rows(archive, rows)


def _read(place: Place, folder: Path, connection: Connection) -> tuple[str, dict[str, int]] | None:
    """Write each table into a file of ``folder``, anew whenever it is tried again; returns how many rows."""
    revision = revision_of(connection, place.schema)
    if revision is None:
        return None
    if not is_known(place.schema, revision):
        what = f"the {place.name} database has the schema {revision}, which is newer than this program knows"
        raise UpkeepError(f"{what}; back it up with the program that wrote it")
    counts = {}
    for table in _reflected(connection, tables_of(place.schema, revision)).sorted_tables:
        names = [column.name for column in table.columns]
        query = select(table).order_by(*table.primary_key.columns)
        result = connection.execution_options(yield_per=_BATCH).execute(query)
        lines = itertools.chain([names], (list(row) for row in result))
        counts[table.name] = _write(folder / table.name, lines) - 1
    return revision, counts


def _write(file: Path, lines: Iterable[Sequence[Any]]) -> int:
    """Equal rows give equal bytes, so that a table which did not change is kept once."""
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        return sum(1 for line in lines if packed.write(_line(line)))


def _line(values: Sequence[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _rows(archive: Archive, rows: Rows) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryFile() as file:
        for chunk in archive.read(rows.piece):
            file.write(chunk)
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as packed:
            names = json.loads(packed.readline())
            for line in packed:
                yield dict(zip(names, json.loads(line), strict=True))


def _fill(connection: Connection, table: Table, archive: Archive, rows: Rows) -> None:
    found = _rows(archive, rows)
    while batch := list(itertools.islice(found, _BATCH)):
        connection.execute(table.insert(), batch)


def _reflected(connection: Connection, names: Sequence[str]) -> MetaData:
    """The tables as the database has them."""
    metadata = MetaData()
    event.listen(metadata, "column_reflect", _without_null)
    metadata.reflect(connection, only=list(names))
    return metadata


def _without_null(inspector: Any, table: Table, column: dict[str, Any]) -> None:
    """What is nothing in a column of JSON is SQL's NULL, as the schemas have it, not JSON's."""
    if isinstance(column["type"], JSON):
        column["type"] = JSON(none_as_null=True)


def _check_empty(place: Place, connection: Connection, replace: bool) -> None:
    there = set(inspect(connection).get_table_names())
    for name in [] if replace else tables_of(place.schema):
        if name in there and connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():
            raise UpkeepError(
                f"the {place.name} database holds rows already, in {name}; --replace removes them"
            )


def _drop(schema: Schema, connection: Connection) -> None:
    there = set(inspect(connection).get_table_names())
    names = {*tables_of(schema), schema.version_table} & there
    _reflected(connection, sorted(names)).drop_all(connection)


def _opened(place: Place) -> Database:
    """Without bringing its schema up to date."""
    try:
        return Database(make_engine(place.url))
    except ArgumentError as error:
        raise UpkeepError(f"{place.schema.setting} is not usable: {error}") from None


def _is_missing(url: str) -> bool:
    """A file of SQLite that is not there is no database, and is not made by looking."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and bool(parsed.database)
    return is_file and not Path(str(parsed.database)).exists()


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(partial(opened.read, _READ), b"")
