"""What one principal has used of its limits."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from gateway.limits.asking import Asking
from gateway.limits.bucket import Bucket, OwnBucket
from gateway.limits.places import OwnPlaces, Places
from gateway.limits.shared import SharedBucket, SharedPlaces
from gateway.limits.slices import Rate, Slices
from gateway.limits.work import Work
from gateway.principal import Principal
from services.common.errors import Code, Reason, ServiceError

TIDY_SECONDS = 5.0
_MINUTE, _DAY = 60.0, 86400.0
_USUAL_WAIT = 0.5
"""Seconds after which a place of one's own may be free; nobody knows."""
_MOST_IDLE = 10_000
"""Accounts kept though no call is under way: tokens may name as many subjects as there are people."""


class Account:
    """Rates and running calls. Nothing is taken where anything is missing."""

    def __init__(
        self,
        principal: Principal,
        slices: Slices | None = None,
        clock: Callable[[], float] = time.monotonic,
        asking: Asking | None = None,
    ) -> None:
        """Without ``slices`` the limits are this gateway's alone. ``asking``: one for all accounts."""
        self.limits = limits = principal.limits
        self.running = 0
        asking = asking or Asking()
        self._rates = {rate.limit_name: rate for rate in _rates(principal)}
        self._buckets: dict[str, Bucket] = {
            name: SharedBucket(slices, asking, rate)
            if slices
            else OwnBucket(rate.capacity, rate.seconds, clock)
            for name, rate in self._rates.items()
        }
        self._places: Places = OwnPlaces(limits.concurrent)
        if slices and limits.concurrent is not None:
            self._places = SharedPlaces(slices, asking, principal.tenant, principal.name, limits.concurrent)

    async def enter(self, work: Work) -> None:
        """A call of this much work begins. Raises RESOURCE_EXHAUSTED with the time after which it may."""
        if not await self._places.free():
            raise _reached(f"{self.limits.concurrent} calls at a time", "concurrent", _USUAL_WAIT)
        amounts = _amounts(work)
        for name, bucket in self._buckets.items():
            if wait := await bucket.wait(amounts[name]):
                rate = self._rates[name]
                per = "minute" if rate.seconds == _MINUTE else "day"
                raise _reached(f"{rate.capacity:g} {name.replace('_', ' ')} a {per}", name, wait)
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name])
        self._begin()

    def leave(self, estimated: Work, done: Work) -> None:
        """The call has ended; what it did counts, not what was expected."""
        self.running -= 1
        self._places.leave()
        before, after = _amounts(estimated), _amounts(done)
        for name, bucket in self._buckets.items():
            bucket.take(after[name] - before[name])

    def take_over(self, before: Account) -> None:
        """Calls that began under other limits end under these."""
        for _ in range(before.running):
            self._begin()

    async def tidy(self) -> None:
        """Give back what others may use."""
        await self._places.tidy()
        for bucket in self._buckets.values():
            await bucket.tidy()

    def _begin(self) -> None:
        self.running += 1
        self._places.enter()


class Accounts:
    """The accounts of all who call and have limits. Keys of one name share one."""

    def __init__(self, slices: Slices | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._slices, self._clock = slices, clock
        self._asking = Asking()
        self._accounts: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def of(self, principal: Principal) -> Account:
        """Its account; a new one where its limits have changed."""
        account = self._accounts.get(principal.account)
        if account is None or account.limits != principal.limits:
            fresh = Account(principal, self._slices, self._clock, self._asking)
            if account is not None:
                fresh.take_over(account)
            account = self._accounts[principal.account] = fresh
            self._forget()
        self._accounts.move_to_end(principal.account)
        return account

    async def follow(self) -> None:
        """Tidy up every few seconds, until cancelled."""
        while self._slices:
            await asyncio.sleep(TIDY_SECONDS)
            await self.tidy()

    async def tidy(self) -> None:
        """Give back what other gateways may use."""
        for account in list(self._accounts.values()):
            await account.tidy()

    def _forget(self) -> None:
        while len(self._accounts) > _MOST_IDLE:
            oldest = next((name for name, account in self._accounts.items() if not account.running), None)
            if oldest is None:
                return
            del self._accounts[oldest]


def _rates(principal: Principal) -> Iterator[Rate]:
    limits = principal.limits
    for name, capacity, seconds in (
        ("requests", limits.requests_per_minute, _MINUTE),
        ("tokens", limits.tokens_per_minute, _MINUTE),
        ("megapixel_steps", limits.megapixel_steps_per_minute, _MINUTE),
        ("training_minutes", limits.training_minutes_per_day, _DAY),
    ):
        if capacity is not None:
            yield Rate(principal.tenant, principal.name, name, capacity, seconds)


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
