"""Where a job can stand, and how it gets from there to there."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class State(enum.StrEnum):
    """The proto's job states."""

    VALIDATING = "validating"
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSED = "paused"
    EVALUATING = "evaluating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ACTIVE = frozenset({State.PREPARING, State.RUNNING, State.EVALUATING})
"""Somebody works on it, under a lease. Validating is work too, but a job may wait for it."""

_AWAY = frozenset({State.FAILED, State.CANCELLED})
NEXT: Mapping[State, frozenset[State]] = {
    State.VALIDATING: frozenset({State.QUEUED}) | _AWAY,
    State.QUEUED: frozenset({State.PREPARING, State.PAUSED}) | _AWAY,
    # From work back to the queue: its orchestrator leaves. To preparing: another one takes it over.
    State.PREPARING: frozenset({State.RUNNING, State.PREPARING, State.QUEUED, State.PAUSED}) | _AWAY,
    State.RUNNING: frozenset({State.EVALUATING, State.PREPARING, State.QUEUED, State.PAUSED}) | _AWAY,
    State.PAUSED: frozenset({State.QUEUED}) | _AWAY,
    State.EVALUATING: frozenset({State.SUCCEEDED, State.PREPARING, State.QUEUED, State.PAUSED}) | _AWAY,
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""What may follow each state."""
