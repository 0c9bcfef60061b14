"""Notes what every call used, for whoever pays for it."""

from __future__ import annotations

from gateway.call import Call
from gateway.pipeline import Proceed
from gateway.usage.ledger import Ledger
from gateway.usage.record import line_of


class Meter:
    """Stands after authentication: what nobody is known to have asked for is nobody's usage."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Await the rest, then count it, however it ended."""
        failed = True
        try:
            await proceed(call)
            failed = False
        finally:
            self._ledger.add(*line_of(call, failed))
