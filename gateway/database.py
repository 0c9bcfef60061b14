"""The gateway's database: usage, and what limits have left where several gateways share them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.database.database import PATIENCE, Database
from services.common.database.migrate import Schema
from services.common.settings import setting

SCHEMA = Schema(Path(__file__).parent / "migrations", "PEQUOD_GATEWAY_DATABASE_URL", "gateway_version")


@dataclass(frozen=True)
class DatabaseSettings:
    """Where it is."""

    url: str = setting(
        "sqlite:///var/gateway/pequod.db",
        env=SCHEMA.setting,
        help="sqlite:///FILE, or postgresql://USER@HOST/NAME that several gateways share; empty: none.",
    )

    @property
    def shared(self) -> bool:
        """Whether other gateways may use it too."""
        return self.url.startswith("postgresql")

    def open(self, patience: float = PATIENCE) -> Database | None:
        """At the newest schema; None where there is to be none. Raises as ``Database.open``."""
        return Database.open(self.url, SCHEMA, patience) if self.url else None
