"""One database behind one small class: transactions that are retried, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from services.common.database.clock import now
from services.common.database.engines import make_engine
from services.common.database.migrate import Schema, SchemaTooNew, migrate
from services.common.errors import Code, Reason, ServiceError
from services.common.room import disk_full
from services.common.settings import SettingsError

T = TypeVar("T")
Task = Callable[[Connection], T]

PATIENCE = 15.0
"""Seconds for which a transaction is tried again while others are in its way or the server is away."""
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5
_RETRY_AFTER = 2.0
_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available."""
_DOUBLE = "23505"
"""PostgreSQL: unique violation."""
_MOST_DOUBLES = 5
_FULL = "53100"
"""PostgreSQL: disk full."""
_AWAY = frozenset({"57P01", "57P02", "57P03", "53300"})
"""PostgreSQL: shut down, crashed, starting, too many connections."""


class Database:
    """Blocking; safe to share between threads. What a task does happens whole or not at all.

    Every write is as if it ran alone (SQLite: BEGIN IMMEDIATE; PostgreSQL: SERIALIZABLE), so a task
    may look first and write then. A task may run several times before it counts: it must do nothing
    but ask the database and return values.
    """

    def __init__(self, engine: Engine, patience: float = PATIENCE) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        """ "sqlite" or "postgresql"."""
        self._patience = patience
        serializable = {} if self.dialect == "sqlite" else {"isolation_level": "SERIALIZABLE"}
        snapshot = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._writer = engine.execution_options(writes=True, **serializable)
        self._reader = engine.execution_options(writes=False, postgresql_readonly=True, **snapshot)

    @property
    def url(self) -> str:
        """By which another process opens the same one."""
        return self.engine.url.render_as_string(hide_password=False)

    @property
    def folder(self) -> Path | None:
        """Of SQLite's file; None where it is a server's to know."""
        file = self.engine.url.database
        return Path(file).parent if file and self.dialect == "sqlite" else None

    @classmethod
    def open(cls, url: str, schema: Schema, patience: float = PATIENCE) -> Database:
        """Connect and bring the schema up to date; any number of processes may do so at once.

        Raises SettingsError for a URL or a schema that cannot be used, ServiceError UNAVAILABLE for
        a server that does not answer within ``patience`` seconds.
        """
        try:
            database = cls(make_engine(url), patience)
        except (ArgumentError, OSError) as error:  # OSError: the folder of a file cannot be made
            raise _unusable(url, schema, error) from None
        try:
            database._until_done(lambda: migrate(database.engine, schema))
        except BaseException as error:
            database.close()
            if isinstance(error, SchemaTooNew):
                raise _unusable(url, schema, error) from None
            raise
        return database

    def read(self, task: Task[T]) -> T:
        """What ``task`` returns; all its queries see one state of the database.

        Raises ServiceError UNAVAILABLE, reason DATABASE_UNREACHABLE, when the database is away.
        """
        return self._until_done(lambda: _run(self._reader, task))

    def write(self, task: Task[T]) -> T:
        """What ``task`` returns, once it is committed. An exception of its own leaves nothing behind.

        Raises as ``read``, and RESOURCE_EXHAUSTED, reason DISK_FULL, when the database has no room left.
        When the connection broke while committing it may have happened all the same, so a caller that
        repeats it must find out.
        """
        return self._until_done(lambda: _run(self._writer, task))

    def now(self) -> float:
        """The database's clock, seconds since 1970; for tests and reports, not for decisions."""
        return self.read(lambda connection: connection.scalars(select(now())).one().timestamp())

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _until_done(self, attempt: Callable[[], T]) -> T:
        """``attempt``, again while it may help. Other errors than the database's own pass through."""
        ends, pause, doubles = time.monotonic() + self._patience, _FIRST_PAUSE, 0
        while True:
            try:
                return attempt()
            except (_CommitLost, NoConnectionFree) as error:
                raise _unreachable(error) from error
            except DBAPIError as error:
                if _is_full(error):
                    raise disk_full("the database") from error
                doubles += _is_double(error)
                if not (_in_the_way(error) or _is_away(error) or 0 < doubles <= _MOST_DOUBLES):
                    raise
                if time.monotonic() + pause > ends:
                    raise _unreachable(error) from error
            # Spread out, so that two that were in each other's way are not again.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)


class _CommitLost(Exception):
    """The connection broke while committing: nobody knows whether it happened."""


def _run(engine: Engine, task: Task[T]) -> T:
    with engine.connect() as connection:
        transaction = connection.begin()
        try:
            value = task(connection)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            if _is_away(error):
                raise _CommitLost(str(error.orig)) from error
            raise
        return value


def _in_the_way(error: DBAPIError) -> bool:
    """Another transaction was; this one left nothing behind."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _CONFLICTS
    return isinstance(error, OperationalError) and _says(error, "is locked", "is busy")


def _is_double(error: DBAPIError) -> bool:
    """A key is there already; on PostgreSQL perhaps since this one looked, though it is as if alone."""
    return getattr(error.orig, "sqlstate", None) == _DOUBLE


def _is_full(error: DBAPIError) -> bool:
    """The disk of the database is."""
    return getattr(error.orig, "sqlstate", None) == _FULL or _says(error, "disk is full")


def _is_away(error: DBAPIError) -> bool:
    """The server cannot be reached, or has just gone."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in _AWAY:
        return True
    # psycopg has no state for a connection that was never made; what a server refuses for good has one.
    return isinstance(error, OperationalError) and state is None and _says(error, "connection", "connect to")


def _says(error: DBAPIError, *parts: str) -> bool:
    text = str(error.orig)
    return any(part in text for part in parts)


def _unreachable(error: Exception) -> ServiceError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return ServiceError(
        Code.UNAVAILABLE,
        Reason.DATABASE_UNREACHABLE,
        "the database cannot be reached",
        retry_after=_RETRY_AFTER,
        detail=(str(cause).splitlines() or [""])[0][:300],
    )


def _unusable(url: str, schema: Schema, error: Exception) -> SettingsError:
    return SettingsError(f"{schema.setting}={_shown(url)!r} is not usable: {error}")


def _shown(url: str) -> str:
    """``url`` without what may be a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else url
