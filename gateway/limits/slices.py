"""Limits that hold over several gateways: each takes a slice of what is left, and asks again after it.

So a call costs a question to the database only now and then. What a gateway holds and does not use goes
back after some seconds; what one that died held comes back with time, as every rate refills and places
expire.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    literal,
    select,
)

from services.common.database.clock import Instant, now
from services.common.database.database import Database
from services.common.database.upsert import upsert

SLOT_SECONDS = 30.0
"""How long places of a gateway that says nothing more count as taken."""

_METADATA = MetaData()
BUCKETS = Table(
    "limit_buckets",
    _METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("key_name", String(128), primary_key=True),
    Column("limit_name", String(64), primary_key=True),
    Column("level", Double),
    Column("at", Instant),
)
SLOTS = Table(
    "limit_slots",
    _METADATA,
    Column("tenant", String(128), primary_key=True),
    Column("key_name", String(128), primary_key=True),
    Column("gateway", String(64), primary_key=True),
    Column("held", Integer),
    Column("until", Instant),
)


@dataclass(frozen=True)
class Rate:
    """One rate of one account: ``capacity`` units in ``seconds``."""

    tenant: str
    key_name: str
    limit_name: str
    capacity: float
    seconds: float


class Slices:
    """What is left, in the database. Blocking."""

    def __init__(self, database: Database, gateway: str) -> None:
        """``gateway``: a name that no other gateway has."""
        self._database, self._gateway = database, gateway

    def lease(self, rate: Rate, least: float, wanted: float) -> tuple[float, float]:
        """(granted, wait): from ``least`` to ``wanted`` units, or none and the seconds after which to ask.

        A full bucket grants ``least``, however much it is, as ``Bucket`` does.
        """
        return self._database.write(lambda connection: _lease(connection, rate, least, wanted))

    def give_back(self, rate: Rate, amount: float) -> float:
        """Units that were leased and not used, negative ones used and never leased; returns what is left."""
        return self._database.write(lambda connection: _add(connection, rate, amount))

    def hold(self, tenant: str, key_name: str, most: int, wanted: int) -> int:
        """How many places this gateway holds from now on: ``wanted``, or what others leave of ``most``."""

        def task(connection: Connection) -> int:
            mine = (SLOTS.c.tenant == tenant) & (SLOTS.c.key_name == key_name)
            connection.execute(delete(SLOTS).where(mine & (SLOTS.c.until < now())))
            others = select(func.coalesce(func.sum(SLOTS.c.held), 0)).where(
                mine & (SLOTS.c.gateway != self._gateway)
            )
            held = max(0, min(wanted, most - int(connection.scalars(others).one())))
            row = {"tenant": tenant, "key_name": key_name, "gateway": self._gateway}
            connection.execute(delete(SLOTS).where(mine & (SLOTS.c.gateway == self._gateway)))
            if held:
                connection.execute(SLOTS.insert().values(**row, held=held, until=now(SLOT_SECONDS)))
            return held

        return self._database.write(task)


def _lease(connection: Connection, rate: Rate, least: float, wanted: float) -> tuple[float, float]:
    level = _level(connection, rate)
    needed = min(least, rate.capacity)
    if level < needed:
        return 0.0, (needed - level) * rate.seconds / rate.capacity
    granted = max(least, min(wanted, level))
    _write(connection, rate, level - granted)
    return granted, 0.0


def _add(connection: Connection, rate: Rate, amount: float) -> float:
    level = min(rate.capacity, _level(connection, rate) + amount)
    _write(connection, rate, level)
    return level


def _level(connection: Connection, rate: Rate) -> float:
    """What is left now; everything where nothing was ever taken."""
    query = select(BUCKETS.c.level, BUCKETS.c.at, now().label("now")).where(
        (BUCKETS.c.tenant == rate.tenant)
        & (BUCKETS.c.key_name == rate.key_name)
        & (BUCKETS.c.limit_name == rate.limit_name)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return rate.capacity
    then, at = row.at, row.now
    passed: float = max(timedelta(0), at - then).total_seconds()
    return min(rate.capacity, float(row.level) + passed * rate.capacity / rate.seconds)


def _write(connection: Connection, rate: Rate, level: float) -> None:
    row: dict[str, Any] = {
        "tenant": rate.tenant,
        "key_name": rate.key_name,
        "limit_name": rate.limit_name,
    }
    upsert(connection, BUCKETS, [row], {"level": literal(level), "at": now()})
