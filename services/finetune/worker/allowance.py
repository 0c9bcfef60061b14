"""How long a job may run, over all its attempts; time in the queue and in pauses is not counted."""

from __future__ import annotations

import time
from pathlib import Path


class Allowance:
    """Kept in a file of the job's folder, for the attempts to come."""

    def __init__(self, file: Path, seconds: float) -> None:
        """``seconds`` in all."""
        self.seconds = seconds
        self._file, self._began = file, time.monotonic()
        self._before = float(file.read_text()) if file.exists() else 0.0

    @property
    def used(self) -> float:
        """Seconds, this attempt's among them."""
        return self._before + time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the job has run for as long as it may."""
        return self.used >= self.seconds

    def note(self) -> None:
        """Write down what was used."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{self.used:.1f}")
        partial.replace(self._file)
