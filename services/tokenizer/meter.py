"""Adds up what a request used over all the batches it had a part in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from pequod.common.v1 import Usage
from services.common.batcher import Served
from services.common.store import ModelVersion


class Meter:
    """Times are seconds since the request was read."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first_work: float | None = None
        self._last_work = 0.0
        self._rows = 0
        self.input_tokens = 0

    def note(self, served: Iterable[Served[Any]]) -> None:
        """Results have come just now."""
        now = time.monotonic() - self._started
        for each in served:
            began = max(0.0, now - each.compute_ms / 1e3)
            self._first_work = began if self._first_work is None else min(self._first_work, began)
            self._rows = max(self._rows, each.batch_rows)
        self._last_work = now

    def usage(self, version: ModelVersion, output_tokens: int = 0) -> Usage:
        """What was used until now."""
        first = self._first_work or 0.0
        return Usage(
            queue_ms=first * 1e3,
            compute_ms=max(0.0, self._last_work - first) * 1e3,
            batch_rows=self._rows,
            input_tokens=self.input_tokens,
            output_tokens=output_tokens,
            model=version.name,
            version=version.version,
        )
