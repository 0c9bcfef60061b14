"""Tenants that share one service: what a flood costs another, and what overload leaves of the work.

Two figures. *Flood*: one tenant keeps twenty times its share of calls waiting; how much longer do the
slowest calls of a quiet tenant take than without it? *Overload*: calls come at three times what the service
can do; how many still end in time, beside the most that it can do?
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc.aio

from tests.bench.gateway.load import GENERATE, PAYLOAD

SLOTS, MILLISECONDS = 8, 80.0
CAPACITY = SLOTS / (MILLISECONDS / 1e3)
"""Calls a second that the service can do."""
DEADLINE = 1.0
TENANTS = 5


@dataclass
class Outcome:
    """Of one tenant's calls: seconds of those that were answered, and the codes of all."""

    seconds: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    def p(self, share: float) -> float:
        """Milliseconds below which ``share`` of the answered calls lie."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Crowd:
    """Callers of one tenant."""

    def __init__(self, target: str, key: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._call = self._channel.unary_unary(GENERATE)
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def one(self, outcome: Outcome, timeout: float = 30.0) -> None:
        """One call; its time counts from when it should have begun."""
        began = time.perf_counter()
        try:
            if await self._call(PAYLOAD, timeout=timeout, metadata=self._metadata) != PAYLOAD:
                raise AssertionError("a reply is not the request")
            outcome.seconds.append(time.perf_counter() - began)
            outcome.codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            outcome.codes[error.code().name] += 1

    async def keep(self, callers: int, seconds: float) -> Outcome:
        """So many calls waiting at any time. Who is refused waits a moment."""
        outcome, end = Outcome(), time.perf_counter() + seconds

        async def caller() -> None:
            while time.perf_counter() < end:
                before = outcome.codes["OK"]
                await self.one(outcome)
                if outcome.codes["OK"] == before:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*[caller() for _ in range(callers)])
        return outcome

    async def arrive(self, rate: float, seconds: float, timeout: float = 30.0) -> Outcome:
        """``rate`` calls a second at random times, whatever becomes of those before (open loop)."""
        outcome, calls = Outcome(), []
        dice, begin, at = random.Random(1), time.perf_counter(), 0.0
        while (at := at + dice.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            calls.append(asyncio.create_task(self.one(outcome, timeout)))
        await asyncio.gather(*calls)
        return outcome

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


async def flood(target: str, keys: list[str], seconds: float) -> float:
    """Print and return how much longer the quiet tenant's p99 is beside the flood."""
    quiet, loud = Crowd(target, keys[0]), Crowd(target, keys[1])
    rate = 0.1 * CAPACITY
    alone = await quiet.arrive(rate, seconds)
    flooding = asyncio.create_task(loud.keep(20 * SLOTS, seconds + 2))
    await asyncio.sleep(2)
    beside = await quiet.arrive(rate, seconds)
    flooded = await flooding
    await quiet.close()
    await loud.close()
    ratio = beside.p(0.99) / alone.p(0.99)
    write = sys.stdout.write
    for name, outcome in (("quiet, alone", alone), ("quiet, beside a flood", beside), ("the flood", flooded)):
        codes = ", ".join(f"{code} {count}" for code, count in sorted(outcome.codes.items()))
        write(f"{name:<24}p50 {outcome.p(0.5):7.1f} ms   p99 {outcome.p(0.99):7.1f} ms   {codes}\n")
    write(f"p99 beside the flood / alone: {ratio:.2f}\n\n")
    return ratio


async def overload(target: str, keys: list[str], seconds: float) -> float:
    """Print and return the goodput at three times the capacity, over the peak."""
    crowds = [Crowd(target, key) for key in keys]
    peak = await asyncio.gather(*[crowd.keep(2 * SLOTS // len(crowds) + 1, seconds) for crowd in crowds])
    each = 3 * CAPACITY / len(crowds)
    above = await asyncio.gather(*[crowd.arrive(each, seconds, DEADLINE) for crowd in crowds])
    for crowd in crowds:
        await crowd.close()
    most = sum(outcome.codes["OK"] for outcome in peak) / seconds
    good = sum(outcome.codes["OK"] for outcome in above) / (seconds + DEADLINE / 2)
    codes: Counter[str] = sum((outcome.codes for outcome in above), Counter())
    shares = [outcome.codes["OK"] for outcome in above]
    write = sys.stdout.write
    write(f"peak {most:.1f}/s of {CAPACITY:.0f}; at three times that {good:.1f}/s in time ({dict(codes)})\n")
    write(f"answered by tenant: {shares}, spread {statistics.pstdev(shares) / statistics.mean(shares):.2f}\n")
    write(f"goodput / peak: {good / most:.2f}\n")
    return good / most
