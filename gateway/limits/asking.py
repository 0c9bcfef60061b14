"""Questions to the database that calls wait for: answered soon, or left alone for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.common.errors import ServiceError

T = TypeVar("T")

QUESTION_SECONDS = 2.0
"""A database that says nothing for so long is away, too."""
PAUSE_SECONDS = 2.0
"""How long one that is away is not asked: calls would wait for each answer in vain, one after the other."""
_THREADS = 4
"""Of its own: what hangs here holds up nothing else in this process."""

_logger = logging.getLogger("pequod.gateway.limits")


class Asking:
    """One for all accounts of a gateway."""

    def __init__(
        self, seconds: float = QUESTION_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._clock = seconds, clock
        self._silent_until = 0.0
        self._threads = ThreadPoolExecutor(_THREADS, "limits")

    async def ask(self, question: Callable[[], T]) -> T | None:
        """What the database answers; None while it is away.

        A question that took too long may still have its effect: the slice that it took is nobody's until
        its bucket has refilled, or its place expired.
        """
        if self._clock() < self._silent_until:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, question)
        except (ServiceError, TimeoutError) as error:
            self._silent_until = self._clock() + PAUSE_SECONDS
            _logger.warning("limits are not shared for now", extra={"error": str(error) or "no answer"})
            return None
