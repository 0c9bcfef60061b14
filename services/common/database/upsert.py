"""INSERT … ON CONFLICT, which both databases have under one syntax and SQLAlchemy under two names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement


def add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``; where the primary key is there already, add their other numbers to what is there."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert = _insert(connection)(table)
    sums = {
        column.name: table.c[column.name] + insert.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums), list(rows))


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    always: Mapping[str, ColumnElement[Any]],
) -> None:
    """Insert ``rows``; where the primary key is there already, only set what is in ``always``.

    ``always`` are SQL expressions, set in new rows too.
    """
    if not rows:
        return
    insert = _insert(connection)(table).values(dict(always))
    keys = [column.name for column in table.primary_key]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=dict(always)), list(rows))


def add_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
) -> None:
    """Insert ``rows``, each with the values ``more``; where the primary key is there, the row stays."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert = _insert(connection)(table).on_conflict_do_nothing(index_elements=keys)
    connection.execute(insert, [{**row, **more} for row in rows])


def _insert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
