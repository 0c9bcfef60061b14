"""Brings a schema up to date when a process starts, whoever else does the same at that moment.

Upgrades roll: old and new programs share a database for a while. So every revision says in ``works_with`` the
oldest revision whose program may use the database after it, and the database notes that; a program that finds
a newer schema than it knows goes on where its own revision is named, and refuses otherwise. What would break
the program before waits for a later revision: first add, then move over, then take away.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
    text,
)

HEAD = "head"
"""The newest revision."""
_LOCK = 7_165_300_501
"""Key of PostgreSQL's advisory lock; any number that nobody else uses on this database."""
_LOCK_SECONDS = 3
"""For which a change of a table waits for others: while it does, everybody else waits behind it."""

_SCHEMAS = Table(
    "pequod_schemas",
    MetaData(),
    Column("version_table", String(64), primary_key=True),
    Column("revision", String(64), nullable=False),
    Column("works_with", String(64), nullable=False),
)
"""For each part of the platform its revision, and the oldest one whose program may use the database then."""

_logger = logging.getLogger("pequod.database")


@dataclass(frozen=True)
class Schema:
    """The tables of one part of the platform; several may live in one database."""

    migrations: Path
    """Folder of Alembic's revisions, in ``versions/``."""
    setting: str
    """The environment variable that says where the database is."""
    version_table: str = "alembic_version"
    """Where the database notes which of them it has."""


class SchemaTooNew(Exception):
    """The database was written by a later version of this program, which this one must not use."""


def migrate(engine: Engine, schema: Schema) -> None:
    """Apply what is missing, in one transaction that only one process has at a time.

    Raises SchemaTooNew when the database has seen a revision that this code neither knows nor may work with.
    """
    with engine.begin() as connection:
        wait_for_turn(connection)
        scripts, before = _scripts(schema), revision_of(connection, schema)
        if before is None or is_known(schema, before):
            upgrade(connection, schema)
            if before != scripts.get_current_head():
                _logger.info("schema upgraded", extra={"from": before, "to": scripts.get_current_head()})
            return
        oldest = _works_with(connection, schema, before)
        if oldest is None or not is_known(schema, oldest):
            raise SchemaTooNew(f"its schema {before} is newer than this program knows")
        _logger.warning("schema is newer, and made to work with this program", extra={"revision": before})


def wait_for_turn(connection: Connection) -> None:
    """Others that change a schema wait until this transaction has ended; SQLite's writers do so anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))


def revision_of(connection: Connection, schema: Schema) -> str | None:
    """Which revision the database has; None for one without the schema."""
    noted = {"version_table": schema.version_table}
    return MigrationContext.configure(connection, opts=noted).get_current_revision()


def is_known(schema: Schema, revision: str) -> bool:
    """Whether this program has that revision."""
    return revision in {script.revision for script in _scripts(schema).walk_revisions()}


def upgrade(connection: Connection, schema: Schema, revision: str = HEAD) -> None:
    """Apply what is missing up to ``revision``, in the connection's transaction."""
    scripts = _scripts(schema)
    wanted = scripts.get_current_head() if revision == HEAD else revision
    if revision_of(connection, schema) != wanted:
        _apply(connection, scripts, schema, revision)
    _note(connection, scripts, schema)


def tables_of(schema: Schema, revision: str = HEAD) -> list[str]:
    """Names of the schema's tables at ``revision``, found by making them."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade(connection, schema, revision)
            names = set(inspect(connection).get_table_names())
    finally:
        engine.dispose()
    return sorted(names - {schema.version_table, _SCHEMAS.name})


def _scripts(schema: Schema) -> ScriptDirectory:
    return ScriptDirectory(str(schema.migrations))


def _apply(connection: Connection, scripts: ScriptDirectory, schema: Schema, revision: str) -> None:
    """As Alembic's own command does it, without a configuration file."""
    environment = EnvironmentContext(
        Config(), scripts, fn=lambda current, _: scripts._upgrade_revs(revision, current)
    )
    with environment:
        environment.configure(
            connection=connection, transactional_ddl=True, version_table=schema.version_table
        )
        environment.run_migrations()


def _note(connection: Connection, scripts: ScriptDirectory, schema: Schema) -> None:
    """Write down which programs may use the database as it is now."""
    revision = revision_of(connection, schema)
    if revision is None:
        return
    oldest = str(getattr(scripts.get_revision(revision).module, "works_with", revision))
    if _works_with(connection, schema, revision) == oldest:
        return
    _SCHEMAS.create(connection, checkfirst=True)
    connection.execute(_SCHEMAS.delete().where(_SCHEMAS.c.version_table == schema.version_table))
    row = {"version_table": schema.version_table, "revision": revision, "works_with": oldest}
    connection.execute(_SCHEMAS.insert().values(**row))


def _works_with(connection: Connection, schema: Schema, revision: str) -> str | None:
    """What is noted of that revision; None where nothing is."""
    if not inspect(connection).has_table(_SCHEMAS.name):
        return None
    mine = (_SCHEMAS.c.version_table == schema.version_table) & (_SCHEMAS.c.revision == revision)
    return connection.scalar(select(_SCHEMAS.c.works_with).where(mine))
