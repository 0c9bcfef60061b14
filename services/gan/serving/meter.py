"""What a request used, as it is told at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pequod.common.v1 import Usage
from services.common.batcher import Served
from services.common.store import ModelVersion


@dataclass
class Meter:
    """Adds up what was served to one request."""

    queue_ms: float = 0.0
    """The longest wait of one of its rows."""
    compute_ms: float = 0.0
    """Its shares of the calls that it was in."""
    batch_rows: int = 0
    steps: int = 0

    def note(self, served: Served[Any]) -> None:
        """Count one row."""
        self.queue_ms = max(self.queue_ms, served.queue_ms)
        self.compute_ms += served.compute_ms / served.batch_rows
        self.batch_rows = max(self.batch_rows, served.batch_rows)

    def usage(self, version: ModelVersion) -> Usage:
        """For the reply."""
        return Usage(
            queue_ms=self.queue_ms,
            compute_ms=self.compute_ms,
            batch_rows=self.batch_rows,
            steps=self.steps,
            model=version.name,
            version=version.version,
        )
