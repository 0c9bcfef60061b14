"""Callers that keep calling while something happens, and every call's outcome."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import grpc
import grpc.aio

from tests.distributed.cluster import Cluster
from tests.distributed.kinds import KINDS, Kind
from tests.load.calls.known import Known
from tests.load.core import outcome as core
from tests.load.core.callers import Call, made
from tests.load.core.judging import WrongPayload
from tests.load.core.schedule import chosen


@dataclass(frozen=True)
class Outcome:
    """One call, and which kind it was of. Times are by ``Load.now``."""

    kind: Kind
    call: core.Outcome

    @property
    def ok(self) -> bool:
        """Answered, and rightly."""
        return self.call.kind is core.Kind.OK

    @property
    def reason(self) -> str:
        """The cause that it was told, by its name; empty without one."""
        return self.call.verdict.reason

    @property
    def late(self) -> bool:
        """Its deadline passed."""
        return self.call.kind is core.Kind.LATE

    @property
    def began(self) -> float:
        """When it did."""
        return self.call.began

    @property
    def seconds(self) -> float:
        """From the caller's first byte to its last."""
        return self.call.latency

    @property
    def cut_off(self) -> bool:
        """Failed as a call does whose server is gone.

        A stream that had begun ends with a reset: Envoy's word for it, which grpc takes for INTERNAL.
        """
        told = self.call.verdict
        return told.code == "UNAVAILABLE" or (told.code == "INTERNAL" and "RST_STREAM" in told.detail)

    def during(self, since: float, until: float) -> bool:
        """Whether it was under way at some time between the two."""
        return self.call.began <= until and self.call.ended >= since

    def __str__(self) -> str:
        told = self.call.verdict
        return f"{told.kind} {told.code} {told.reason} ({self.kind.name}): {told.detail}"


class Load:
    """While the block runs, ``callers`` call through the Envoys, each one call of KINDS after the other.

    Each has a connection of its own, as programs of different people have.
    ``pause``: seconds between a caller's calls; ``timeout``: the deadline of each call;
    ``key`` in place of the cluster's own.
    """

    def __init__(
        self,
        cluster: Cluster,
        callers: int = 8,
        pause: float = 0.05,
        timeout: float = 30.0,
        key: str = "",
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._cluster, self._callers, self._pause, self._timeout = cluster, callers, pause, timeout
        self._key = key or cluster.key
        self._record, self._known = core.Record(), Known()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> list[Outcome]:
        """Calls that did not get their answer."""
        return [each for each in list(self.outcomes) if not each.ok]

    def wait_for(self, calls: int, seconds: float = 600.0) -> None:
        """Wait until so many more calls have ended. Raises TimeoutError."""
        enough, ends = len(self.outcomes) + calls, time.monotonic() + seconds
        while len(self.outcomes) < enough:
            if time.monotonic() > ends:
                raise TimeoutError(f"{len(self.outcomes)} of {enough} calls have ended")
            time.sleep(0.05)

    def now(self) -> float:
        """Seconds since the load was made."""
        return self._record.now()

    async def _run(self) -> None:
        await asyncio.gather(*[self._caller(number) for number in range(self._callers)])

    async def _caller(self, number: int) -> None:
        front = self._cluster.front
        credentials = grpc.ssl_channel_credentials(front.authorities)
        async with grpc.aio.secure_channel(front.target, credentials, options=_ALONE) as channel:
            await self._calls({kind.name: self._call_of(kind, channel) for kind in KINDS}, number)

    async def _calls(self, calls: Mapping[str, Call], number: int) -> None:
        mix = {kind.name: kind.share for kind in KINDS}
        for name in chosen(mix, random.Random(number)):
            if self._stop.is_set():
                return
            call = await made(self._record, name, calls[name], self.now())
            self.outcomes.append(Outcome(_KINDS[name], call))
            await asyncio.sleep(self._pause)

    def _call_of(self, kind: Kind, channel: grpc.aio.Channel) -> Call:
        given = {"timeout": self._timeout, "metadata": (("authorization", f"Bearer {self._key}"),)}

        async def call(_: core.Marks) -> None:
            answer = await kind.ask(channel, given)
            if answer is None:
                return
            if not answer:
                raise WrongPayload("nothing")
            self._known.same(kind.name, answer)

        return call


_KINDS = {kind.name: kind for kind in KINDS}
_ALONE = (("grpc.use_local_subchannel_pool", 1),)
"""Else all channels to one address would share a connection."""


def told(outcomes: Sequence[Outcome]) -> str:
    """How many of which code, reason and kind: for messages."""
    counts = Counter(map(str, outcomes))
    return "; ".join(f"{count} x {what}" for what, count in counts.most_common(8)) or "none"
