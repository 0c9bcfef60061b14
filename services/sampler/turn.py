"""A turn: steps of one engine in a row. The event loop hears of them once, and streams send one message."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

from services.sampler.engine import Engine, Output
from services.sampler.sequence import Sequence

_logger = logging.getLogger("pequod.sampler")


@dataclass
class Turn:
    """What one engine does until the scheduler is to look again."""

    engine: Engine
    sequences: Rows[Sequence]
    new: set[int]
    """Places of sequences without a symbol so far: nobody is to wait for a first one longer than it takes."""
    seconds: float
    """No step begins later than this; the first one always runs."""
    interrupted: bool = False
    """Set by any thread to end the turn with the step that runs."""
    step_seconds: list[float] = field(default_factory=list)
    """How long each step took."""

    def run(self) -> list[Output]:
        """What each sequence got in all steps; when one fails, what came before it, with the error."""
        ends = time.monotonic() + self.seconds
        whole = [Output() for _ in self.sequences]
        while True:
            for before, output in zip(whole, self._step(), strict=True):
                before.add(output)
            if self._is_over(whole, ends):
                return whole

    def _step(self) -> list[Output]:
        started = time.perf_counter()
        try:
            outputs = self.engine.step(self.sequences)
            if len(outputs) != len(self.sequences):
                wanted = len(self.sequences)
                raise RuntimeError(f"{wanted} sequences went into a step, {len(outputs)} outputs came out")
        except Exception as error:
            _logger.exception("an engine step failed", extra={"model": self.engine.name})
            return [Output(error=error) for _ in self.sequences]
        self.step_seconds.append(time.perf_counter() - started)
        return outputs

    def _is_over(self, whole: list[Output], ends: float) -> bool:
        """Whether there is news that does not wait, or time is up."""
        return (
            self.interrupted
            or time.monotonic() >= ends
            or any(output.finish or output.error for output in whole)
            or any(not whole[place].is_empty for place in self.new)
        )
