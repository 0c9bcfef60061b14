"""What the calls of a service that ended teach: how long they take, and which were late for their company."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pequod.common.v1 import Usage

_NEWEST = 0.05
"""Weight of the newest call in running means."""
_FIRST_SECONDS = 0.05
_LATE = 0.98
"""Share of its time that a call has spent when it missed its deadline."""
_BLAMED = 0.75
"""Share of its time that a late call must have been with the service, else its caller was the slow one."""
_PATIENT = 0.5
"""Share of what calls need of the service on average below which a deadline says nothing of the service."""
_MOST_TENANTS = 10_000


@dataclass(slots=True)
class Stay:
    """One call's time at its place."""

    held: float
    """Seconds that it had the place."""
    served: float
    """Those of them in the service: not those in which it waited for its own caller to read or to send."""
    given: float = math.inf
    """Seconds from its beginning to its deadline."""
    done: bool = True
    """Whether it was answered: not cut off, by whomever, and not failed."""
    usage: Usage | None = None
    """What the service says of it."""

    @property
    def missed(self) -> bool:
        """Whether its deadline passed."""
        return self.held >= _LATE * self.given


@dataclass(slots=True)
class Means:
    """Running means of seconds."""

    held: float
    """For which a call has its place, however it ends: how long others wait for it, what it costs them."""
    whole: float
    """Until a call is answered, its caller's own waits among them."""
    served: float
    """In the service until then."""

    def add(self, stay: Stay) -> None:
        """One more call. One that was cut off would have taken longer: it can only raise the last two."""
        self.held += _NEWEST * (stay.held - self.held)
        if stay.done or stay.held > self.whole:
            self.whole += _NEWEST * (stay.held - self.whole)
        if stay.done or stay.served > self.served:
            self.served += _NEWEST * (stay.served - self.served)


class Past:
    """Of all calls of one service, and of each tenant's."""

    def __init__(self) -> None:
        self.all = Means(_FIRST_SECONDS, _FIRST_SECONDS, _FIRST_SECONDS)
        self._tenants: dict[str, Means] = {}

    def of(self, tenant: str) -> Means:
        """Those of the tenant's calls; of all calls where it has made none."""
        return self._tenants.get(tenant, self.all)

    def add(self, tenant: str, stay: Stay) -> None:
        """One more call."""
        self.all.add(stay)
        means = self._tenants.get(tenant)
        if means is None:
            if len(self._tenants) >= _MOST_TENANTS:
                self._tenants.clear()
            means = self._tenants[tenant] = Means(stay.held, stay.held, stay.served)
        means.add(stay)

    def crowded(self, stay: Stay) -> bool:
        """Whether the call missed its deadline for the company that it had in the service.

        Not so when its caller was slow to read, or gave far less time than calls need on average: it would
        have been late with any number of places.
        """
        return (
            stay.missed and stay.served >= _BLAMED * stay.given and stay.served >= _PATIENT * self.all.served
        )
