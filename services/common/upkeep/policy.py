"""What a garbage collection leaves alone."""

from __future__ import annotations

from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True)
class Policy:
    """Times are seconds; None: such things never go."""

    grace_seconds: float = 7 * DAY
    """For which nobody must have needed a version."""
    keep_last: int = 3
    """The newest versions of each name, which stay in any case."""
    checkpoint_seconds: float | None = 30 * DAY
    """Since the end of a job: until then its checkpoints have files, and what it published stays."""
    dataset_seconds: float | None = 90 * DAY
    """Since a data set was made that no job ever named."""
    asked: tuple[str, ...] = ()
    """host:port of the side ports of services that say what they have in memory; empty: found by settings."""
    is_offline: bool = False
    """No service runs, so none is asked."""
