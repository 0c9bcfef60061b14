"""Usage in the gateway's database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Double, MetaData, String, Table, func, select, type_coerce

from gateway.usage.record import Amounts, Of
from services.common.database.clock import Instant
from services.common.database.database import Database
from services.common.database.upsert import add

GROUPINGS = ("hour", "day", "tenant", "key", "model", "method")
_DAY_MICROSECONDS = 86_400_000_000

USAGE = Table(
    "usage",
    MetaData(),
    Column("hour", Instant, primary_key=True),
    Column("tenant", String(128), primary_key=True),
    Column("key_name", String(128), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("method", String(256), primary_key=True),
    Column("calls", BigInteger),
    Column("failed", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("steps", BigInteger),
    Column("compute_ms", Double),
)


@dataclass(frozen=True)
class Asked:
    """Which usage to sum, and by what. ``by`` are of GROUPINGS; times are UTC, ``until`` excluded."""

    by: Sequence[str] = ("key", "model")
    since: datetime | None = None
    until: datetime | None = None
    tenant: str = ""


class UsageStore:
    """Blocking."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, lines: Iterable[tuple[Of, Amounts]]) -> None:
        """Count ``lines`` in, all or none. Raises UNAVAILABLE, reason DATABASE_UNREACHABLE."""
        rows = [{**about._asdict(), **vars(amounts)} for about, amounts in lines]
        self.database.write(lambda connection: add(connection, USAGE, rows))

    def sums(self, asked: Asked) -> list[Mapping[str, Any]]:
        """A row for each group, with its sums, ordered by the groups."""
        groups = [_column(name).label(name) for name in asked.by]
        sums = [func.sum(USAGE.c[name]).label(name) for name in vars(Amounts())]
        query = select(*groups, *sums).group_by(*groups).order_by(*groups)
        if asked.since:
            query = query.where(USAGE.c.hour >= asked.since)
        if asked.until:
            query = query.where(USAGE.c.hour < asked.until)
        if asked.tenant:
            query = query.where(USAGE.c.tenant == asked.tenant)
        return self.database.read(
            lambda connection: [dict(row) for row in connection.execute(query).mappings()]
        )


def _column(name: str) -> Any:
    if name == "day":
        hour = type_coerce(USAGE.c.hour, BigInteger)
        return type_coerce(hour - hour % _DAY_MICROSECONDS, Instant)
    return USAGE.c["key_name" if name == "key" else name]
