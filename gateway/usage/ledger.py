"""Usage on its way to the database: summed up in memory, written every few seconds, nothing dropped."""

from __future__ import annotations

import asyncio
import logging

from gateway.usage.record import Amounts, Of
from gateway.usage.store import UsageStore
from services.common.metrics import Metrics

FLUSH_SECONDS = 5.0

_logger = logging.getLogger("pequod.gateway.usage")


class Ledger:
    """Lines that are not written yet. A database that is away gets them when it is back."""

    def __init__(self, store: UsageStore | None, metrics: Metrics) -> None:
        """Without a store nothing is kept."""
        self._store = store
        self._lines: dict[Of, Amounts] = {}
        self._writing: asyncio.Task[None] | None = None
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
        """Write what there is; it stays here where that fails. One that is under way is waited for."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        # Who waits may be cancelled; the lines on their way must not go with it.
        await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Write the rest. Lines that the database does not take now are in the log, and nowhere else."""
        await self.flush()
        await self.flush()
        for about, amounts in self._lines.items():
            line = {**about._asdict(), "hour": about.hour.isoformat(), **vars(amounts)}
            _logger.error("usage lost", extra={"line": line})

    async def _write(self) -> None:
        if self._store is None or not self._lines:
            return
        lines, self._lines = self._lines, {}
        try:
            await asyncio.to_thread(self._store.add, list(lines.items()))
        except Exception as error:  # whatever it is: somebody is to pay by these lines
            _logger.warning("usage not written", extra={"lines": len(lines), "error": str(error)})
            for about, amounts in lines.items():
                self.add(about, amounts)
