"""Callers that keep calling while something happens, and every call's outcome."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import grpc
import grpc.aio

from pequod_client.errors import from_rpc_error
from tests.distributed.cluster import Cluster
from tests.distributed.kinds import KINDS, Kind

WRONG = "WRONG_ANSWER"
"""In place of a code: answered, but not as the first time."""


@dataclass(frozen=True)
class Outcome:
    """One call. Times by ``time.monotonic``; ``code`` is OK, a status, or WRONG_ANSWER."""

    kind: Kind
    began: float
    ended: float
    code: str
    reason: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        """Answered, and rightly."""
        return self.code == "OK"

    @property
    def cut_off(self) -> bool:
        """Failed as a call does whose server is gone.

        A stream that had begun ends with a reset: Envoy's word for it, which grpc takes for INTERNAL.
        """
        return self.code == "UNAVAILABLE" or (self.code == "INTERNAL" and "RST_STREAM" in self.message)

    @property
    def seconds(self) -> float:
        """From the caller's first byte to its last."""
        return self.ended - self.began

    def during(self, since: float, until: float) -> bool:
        """Whether it was under way at some time between the two."""
        return self.began <= until and self.ended >= since


class Load:
    """While the block runs, ``callers`` call through Envoy one call after the other, each in turn of KINDS.

    ``pause``: seconds between a caller's calls; ``timeout``: the deadline of each call.
    """

    def __init__(
        self,
        cluster: Cluster,
        callers: int = 8,
        pause: float = 0.05,
        timeout: float = 30.0,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._cluster, self._callers, self._pause, self._timeout = cluster, callers, pause, timeout
        self._kinds = kinds
        self._answers: dict[str, bytes] = {}
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

    async def _run(self) -> None:
        target = f"localhost:{self._cluster.envoy.public}"
        credentials = grpc.ssl_channel_credentials(self._cluster.envoy.authorities)
        async with grpc.aio.secure_channel(target, credentials) as channel:
            await asyncio.gather(*[self._call(channel, number) for number in range(self._callers)])

    async def _call(self, channel: grpc.aio.Channel, seed: int) -> None:
        for kind in _shuffled(self._kinds, seed):
            if self._stop.is_set():
                return
            self.outcomes.append(await self._outcome(channel, kind))
            await asyncio.sleep(self._pause)

    async def _outcome(self, channel: grpc.aio.Channel, kind: Kind) -> Outcome:
        given = {"timeout": self._timeout, "metadata": (("authorization", f"Bearer {self._cluster.key}"),)}
        began = time.monotonic()
        try:
            answer = await kind.ask(channel, given)
        except grpc.aio.AioRpcError as raised:
            error = from_rpc_error(raised)
            return Outcome(kind, began, time.monotonic(), error.code.name, error.reason, error.message)
        right = answer is None or answer == self._answers.setdefault(kind.name, answer)
        return Outcome(kind, began, time.monotonic(), "OK" if right and answer != b"" else WRONG)


def _shuffled(kinds: Sequence[Kind], seed: int) -> Iterator[Kind]:
    """Each kind as often as its share says, in a random order, for ever."""
    deck, dice = [kind for kind in kinds for _ in range(kind.share)], random.Random(seed)
    for _ in itertools.count():
        yield from dice.sample(deck, len(deck))


def told(outcomes: Sequence[Outcome]) -> str:
    """How many of which code, reason and kind: for messages."""
    counts = Counter(f"{each.code} {each.reason} ({each.kind.name}): {each.message}" for each in outcomes)
    return "; ".join(f"{count} x {what}" for what, count in counts.most_common(8)) or "none"
