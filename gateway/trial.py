"""Whether less company helps those that are late: seen while a service has the fewest places."""

from __future__ import annotations

import math
from collections import Counter

_CALLS = 2
"""Calls that a trial takes, for each of the fewest places."""
_MOSTLY = 0.5
"""Share of a tenant's calls that are late in a trial from which on it is late in any company."""
_EXCUSED_SECONDS = 600.0
"""For so long a tenant's late calls then say nothing of the company."""


class Trial:
    """Counts the calls that had the fewest places' company from their beginning to their end."""

    def __init__(self, fewest: int) -> None:
        self.under_way = False
        """Meanwhile there may not be more places."""
        self._fewest = fewest
        self._since = math.inf
        self._calls: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._excused: dict[str, float] = {}

    def begin(self) -> None:
        """Places are down to the fewest; nothing where it has begun."""
        if not self.under_way:
            self.under_way, self._since = True, math.inf
            self._calls.clear()
            self._late.clear()

    def excuses(self, tenant: str, now: float) -> bool:
        """Whether the tenant's calls were late in any company not long ago."""
        return self._excused.get(tenant, -math.inf) > now

    def left(self, tenant: str, *, late: bool, entered: float, inflight: int, now: float) -> None:
        """A call that was answered, or ``late`` in the service, left behind ``inflight`` others."""
        if entered >= self._since:
            self._calls[tenant] += 1
            self._late[tenant] += late
        if inflight <= self._fewest:
            self._since = min(self._since, now)
        if self._calls.total() >= _CALLS * self._fewest:
            self._end(now)

    def _end(self, now: float) -> None:
        self.under_way = False
        self._excused = {tenant: until for tenant, until in self._excused.items() if until > now}
        for tenant, calls in self._calls.items():
            if self._late[tenant] >= _MOSTLY * calls:
                self._excused[tenant] = now + _EXCUSED_SECONDS
