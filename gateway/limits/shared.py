"""Buckets and places that several gateways share by slices (see ``slices``).

While the database is away each gateway lets calls through and notes them: nobody is refused for our
trouble, and what was used is owed when it is back.
"""

from __future__ import annotations

import asyncio

from gateway.limits.asking import Asking
from gateway.limits.slices import Rate, Slices

_SLICES = 16
"""A slice is this part of a bucket, of places too; a call that needs more gets more."""


class SharedBucket:
    """This gateway's slice of a rate. Calls that come while it asks may overdraw it; the next one pays."""

    def __init__(self, slices: Slices, asking: Asking, rate: Rate) -> None:
        self._slices, self._rate = slices, rate
        self._ask = asking.ask
        self._credit = 0.0
        self._used = False
        self._asking = asyncio.Lock()

    async def wait(self, amount: float) -> float:
        """See Bucket."""
        if self._credit >= amount:
            return 0.0
        async with self._asking:
            missing = amount - self._credit
            if missing <= 0:
                return 0.0
            wanted = max(missing, self._rate.capacity / _SLICES)
            leased = await self._ask(lambda: self._slices.lease(self._rate, missing, wanted))
            if leased is None:
                return 0.0
            granted, wait = leased
            self._credit += granted
            return wait

    def take(self, amount: float) -> None:
        """See Bucket."""
        self._credit -= amount
        self._used = True

    async def tidy(self) -> None:
        """Give back what was not touched lately, and own up to what is owed."""
        used, self._used = self._used, False
        if self._credit < 0 or (self._credit > 0 and not used):
            amount, self._credit = self._credit, 0.0
            if await self._ask(lambda: self._slices.give_back(self._rate, amount)) is None:
                self._credit += amount


class SharedPlaces:
    """The places that this gateway holds of an account's."""

    def __init__(self, slices: Slices, asking: Asking, tenant: str, key_name: str, most: int) -> None:
        self.running = 0
        self._slices = slices
        self._ask = asking.ask
        self._tenant, self._key_name, self._most = tenant, key_name, most
        self._held = 0
        self._asking = asyncio.Lock()

    async def free(self) -> bool:
        """See Places."""
        if self.running < self._held:
            return True
        async with self._asking:
            if self.running < self._held:
                return True
            return await self._hold(self.running + max(1, self._most // _SLICES))

    def enter(self) -> None:
        """See Places."""
        self.running += 1

    def leave(self) -> None:
        """See Places."""
        self.running -= 1

    async def tidy(self) -> None:
        """Say again which places are held: those in use."""
        async with self._asking:
            if self._held or self.running:
                await self._hold(self.running)

    async def _hold(self, wanted: int) -> bool:
        """Whether one of the places that are held now is free."""
        held = await self._ask(
            lambda: self._slices.hold(self._tenant, self._key_name, self._most, min(wanted, self._most))
        )
        if held is None:
            return self.running < self._most
        self._held = held
        return self.running < self._held
