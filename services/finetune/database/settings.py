"""Where the database is."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting
from services.finetune.database.database import Database


@dataclass(frozen=True)
class DatabaseSettings:
    """One database for every process of the service."""

    url: str = setting(
        "sqlite:///var/finetune/pequod.db",
        env="PEQUOD_DATABASE_URL",
        help="sqlite:///FILE, or postgresql://USER@HOST/NAME for several orchestrators.",
    )

    def open(self) -> Database:
        """The database, at the newest schema. Raises as ``Database.open``."""
        return Database.open(self.url)
