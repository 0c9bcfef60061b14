"""Usage on its way to the database: summed up in memory, written every few seconds, nothing dropped."""

from __future__ import annotations

import asyncio
import logging

from gateway.usage.record import Amounts, Of
from gateway.usage.store import UsageStore
from services.common.errors import ServiceError
from services.common.metrics import Metrics

FLUSH_SECONDS = 5.0

_logger = logging.getLogger("pequod.gateway.usage")


class Ledger:
    """Lines that are not written yet. A database that is away gets them when it is back."""

    def __init__(self, store: UsageStore | None, metrics: Metrics) -> None:
        """Without a store nothing is kept."""
        self._store = store
        self._lines: dict[Of, Amounts] = {}
        metrics.usage_pending.set_function(lambda: len(self._lines))

    def add(self, about: Of, amounts: Amounts) -> None:
        """Count one call in."""
        if self._store is not None:
            self._lines.setdefault(about, Amounts()).add(amounts)

    async def follow(self) -> None:
        """Write every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what there is; it stays here where that fails."""
        if self._store is None or not self._lines:
            return
        lines, self._lines = self._lines, {}
        try:
            await asyncio.shield(asyncio.to_thread(self._store.add, list(lines.items())))
        except ServiceError as error:
            _logger.warning("usage not written", extra={"lines": len(lines), "error": error.message})
            for about, amounts in lines.items():
                self.add(about, amounts)
