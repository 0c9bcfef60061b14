"""Brings a schema up to date when a process starts, whoever else does the same at that moment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

_LOCK = 7_165_300_501
"""Key of PostgreSQL's advisory lock; any number that nobody else uses on this database."""

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
    """The database was written by a later version of this program."""


def migrate(engine: Engine, schema: Schema) -> None:
    """Apply what is missing, in one transaction that only one process has at a time.

    Raises SchemaTooNew when the database has seen a revision that this code does not know.
    """
    with engine.begin() as connection:
        _wait_for_turn(connection)
        scripts = ScriptDirectory(str(schema.migrations))
        noted = {"version_table": schema.version_table}
        before = MigrationContext.configure(connection, opts=noted).get_current_heads()
        known = {script.revision for script in scripts.walk_revisions()}
        if unknown := set(before) - known:
            raise SchemaTooNew(f"its schema {', '.join(sorted(unknown))} is newer than this program knows")
        if set(before) == set(scripts.get_heads()):
            return
        _upgrade(connection, scripts, schema)
        _logger.info("schema upgraded", extra={"from": list(before), "to": list(scripts.get_heads())})


def _wait_for_turn(connection: Connection) -> None:
    """SQLite has begun as a writer, which is a turn already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _upgrade(connection: Connection, scripts: ScriptDirectory, schema: Schema) -> None:
    """As Alembic's own command does it, without a configuration file."""
    environment = EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
    )
    with environment:
        environment.configure(
            connection=connection, transactional_ddl=True, version_table=schema.version_table
        )
        environment.run_migrations()
