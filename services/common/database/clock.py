"""Times from the database's clock, the one clock that all processes share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A time in UTC, kept as microseconds since 1970: the same order and the same sums in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Refuses times without a zone."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """In UTC."""
        return None if value is None else _EPOCH + int(value) * _MICROSECOND


class now(FunctionElement[datetime]):
    """SQL: the time at which the statement runs, ``seconds`` later; in milliseconds at least."""

    type = Instant()
    inherit_cache = False

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.offset = round(seconds * 1e6)


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **options: Any) -> str:
    return f"(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000 + {element.offset})"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: Any, **options: Any) -> str:
    # Not now(), which stands still while a transaction waits for a lock.
    return f"(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) + {element.offset})"
