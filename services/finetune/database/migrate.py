"""Brings the schema up to date when the service starts, whoever else does the same at that moment."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_165_300_501
"""Key of PostgreSQL's advisory lock; any number that nobody else uses on this database."""

_logger = logging.getLogger("pequod.database")


class SchemaTooNew(Exception):
    """The database was written by a later version of this service."""


def migrate(engine: Engine) -> None:
    """Apply what is missing, in one transaction that only one process has at a time.

    Raises SchemaTooNew when the database has seen a revision that this code does not know.
    """
    with engine.begin() as connection:
        _wait_for_turn(connection)
        scripts = ScriptDirectory(str(MIGRATIONS))
        before = MigrationContext.configure(connection).get_current_heads()
        known = {script.revision for script in scripts.walk_revisions()}
        if unknown := set(before) - known:
            raise SchemaTooNew(f"its schema {', '.join(sorted(unknown))} is newer than this program knows")
        if set(before) == set(scripts.get_heads()):
            return
        _upgrade(connection, scripts)
        _logger.info("schema upgraded", extra={"from": list(before), "to": list(scripts.get_heads())})


def _wait_for_turn(connection: Connection) -> None:
    """SQLite has begun as a writer, which is a turn already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _upgrade(connection: Connection, scripts: ScriptDirectory) -> None:
    """As Alembic's own command does it, without a configuration file."""
    environment = EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
