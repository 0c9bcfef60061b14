"""Where the database is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.database.database import PATIENCE, Database
from services.common.database.migrate import Schema
from services.common.settings import setting

SCHEMA = Schema(Path(__file__).parent / "migrations", "PEQUOD_DATABASE_URL")


@dataclass(frozen=True)
class DatabaseSettings:
    """One database for every process of the service."""

    url: str = setting(
        "sqlite:///var/finetune/pequod.db",
        env=SCHEMA.setting,
        help="sqlite:///FILE, or postgresql://USER@HOST/NAME for several orchestrators.",
    )

    def open(self) -> Database:
        """The database, at the newest schema. Raises as ``Database.open``."""
        return open_database(self.url)


def open_database(url: str, patience: float = PATIENCE) -> Database:
    """The database at ``url``, at the newest schema. Raises as ``Database.open``."""
    return Database.open(url, SCHEMA, patience)
