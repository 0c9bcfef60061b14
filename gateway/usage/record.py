"""One line of usage: whose, of what, how much."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.call import Call


class Of(NamedTuple):
    """What a line is about. ``hour``: its beginning, UTC."""

    hour: datetime
    tenant: str
    key_name: str
    model: str
    method: str


@dataclass
class Amounts:
    """Sums over the calls of a line."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    steps: int = 0
    compute_ms: float = 0.0

    def add(self, other: Amounts) -> None:
        """Count ``other`` in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def line_of(call: Call, failed: bool, now: datetime | None = None) -> tuple[Of, Amounts]:
    """What a call that has ended adds to the usage."""
    hour = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    usage = call.usage
    principal = call.principal
    about = Of(hour, principal.tenant, principal.name, usage.model if usage else "", call.method.path[1:])
    amounts = Amounts(calls=1, failed=int(failed))
    if usage is not None:
        amounts.input_tokens, amounts.output_tokens = usage.input_tokens, usage.output_tokens
        amounts.cached_tokens, amounts.steps = usage.cached_tokens, usage.steps
        amounts.compute_ms = usage.compute_ms
    return about, amounts
