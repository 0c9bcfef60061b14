"""What a pipeline is: a list of steps, each handed the call and the rest of the list."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from gateway.call import Call

Proceed: TypeAlias = Callable[[Call], Awaitable[None]]


class Step(Protocol):
    """One concern of every call. A step refuses a call by raising ServiceError."""

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Do this step's part, and await ``proceed(call)`` for the rest."""


def compose(steps: Sequence[Step]) -> Proceed:
    """One function that takes a call through ``steps`` in order; the last step proceeds nowhere."""
    chain: Proceed = _end
    for step in reversed(steps):
        chain = functools.partial(step.handle, proceed=chain)
    return chain


class Counted:
    """A pipeline that knows how many calls are on their way through it."""

    def __init__(self, pipeline: Proceed) -> None:
        self.running = 0
        self._pipeline = pipeline

    async def __call__(self, call: Call) -> None:
        """Take ``call`` through."""
        self.running += 1
        try:
            await self._pipeline(call)
        finally:
            self.running -= 1


async def _end(call: Call) -> None:
    raise AssertionError(f"the last step let {call.method.path} through")
