"""What one principal has used of its limits."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.limits.bucket import Bucket
from gateway.limits.work import Work
from gateway.principal import Limits, Principal
from services.common.errors import Code, Reason, ServiceError

_MINUTE, _DAY = 60.0, 86400.0
_USUAL_WAIT = 0.5
"""Seconds after which a place of one's own may be free; nobody knows."""
_MOST_IDLE = 10_000
"""Accounts kept though no call is under way: tokens may name as many subjects as there are people."""


class Account:
    """Rates and running calls. Nothing is taken where anything is missing."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.running = 0
        self._buckets = {
            name: Bucket(capacity, seconds, clock)
            for name, capacity, seconds in (
                ("requests", limits.requests_per_minute, _MINUTE),
                ("tokens", limits.tokens_per_minute, _MINUTE),
                ("megapixel_steps", limits.megapixel_steps_per_minute, _MINUTE),
                ("training_minutes", limits.training_minutes_per_day, _DAY),
            )
            if capacity is not None
        }

    def enter(self, work: Work) -> None:
        """A call of this much work begins. Raises RESOURCE_EXHAUSTED with the time after which it may."""
        most = self.limits.concurrent
        if most is not None and self.running >= most:
            raise _reached(f"{most} calls at a time", "concurrent", _USUAL_WAIT)
        amounts = _amounts(work)
        waits = {name: bucket.wait(amounts[name]) for name, bucket in self._buckets.items()}
        name = max(waits, key=waits.__getitem__, default="")
        if name and waits[name] > 0:
            bucket = self._buckets[name]
            per = "minute" if bucket.seconds == _MINUTE else "day"
            raise _reached(f"{bucket.capacity:g} {name.replace('_', ' ')} a {per}", name, waits[name])
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name])
        self.running += 1

    def leave(self, estimated: Work, done: Work) -> None:
        """The call has ended; what it did counts, not what was expected."""
        self.running -= 1
        before, after = _amounts(estimated), _amounts(done)
        for name, bucket in self._buckets.items():
            bucket.take(after[name] - before[name])


class Accounts:
    """The accounts of all who call and have limits. Keys of one name share one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def of(self, principal: Principal) -> Account:
        """Its account; a new one where its limits have changed."""
        account = self._accounts.get(principal.account)
        if account is None or account.limits != principal.limits:
            fresh = Account(principal.limits, self._clock)
            fresh.running = account.running if account else 0
            account = self._accounts[principal.account] = fresh
            self._forget()
        self._accounts.move_to_end(principal.account)
        return account

    def _forget(self) -> None:
        while len(self._accounts) > _MOST_IDLE:
            oldest = next((name for name, account in self._accounts.items() if not account.running), None)
            if oldest is None:
                return
            del self._accounts[oldest]


def _amounts(work: Work) -> dict[str, float]:
    return {"requests": 1.0, **vars(work)}


def _reached(limit: str, name: str, wait: float) -> ServiceError:
    return ServiceError(
        Code.RESOURCE_EXHAUSTED,
        Reason.LIMIT_REACHED,
        f"this key may use {limit}; retry in {wait:.2f} s",
        retry_after=wait,
        metadata={"limit": name},
    )
