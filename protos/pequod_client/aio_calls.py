"""The methods of a stub with the client's policy around them, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc
from grpc import aio

from pequod_client.errors import PequodError
from pequod_client.policy import Attempts, CallPolicy
from pequod_client.sent_status import SentStatus

Stub = TypeVar("Stub")
Start = Callable[[], Any]


def with_policy(stub: Stub, policy: CallPolicy) -> Stub:
    """The same stub; each of its methods now follows ``policy`` and raises PequodError."""
    for name, method in vars(stub).items():
        setattr(stub, name, _wrapped(method, policy))
    return stub


def _wrapped(method: Any, policy: CallPolicy) -> Method:
    # A request that is an iterator is used up by the first try.
    if isinstance(method, aio.UnaryUnaryMultiCallable):
        return Method(method, policy, policy.timeout, Reply, repeatable=True)
    if isinstance(method, aio.StreamUnaryMultiCallable):
        return Method(method, policy, policy.stream_timeout, Reply, repeatable=False)
    repeatable = isinstance(method, aio.UnaryStreamMultiCallable)
    return Method(method, policy, policy.stream_timeout, Replies, repeatable=repeatable)


@dataclass(frozen=True)
class Method:
    """A method under a policy. Its ``timeout`` in seconds covers all tries and the whole stream."""

    method: Any
    policy: CallPolicy
    timeout: float
    kind: type[Call]
    repeatable: bool

    def __call__(
        self, *request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Call:
        """The call, already begun."""
        attempts = self.policy.begin(self.timeout if timeout is None else timeout, metadata)

        def start() -> Any:
            return self.method(*request, **attempts.settings(), **options)

        return self.kind(Tries(start, attempts, repeatable=self.repeatable))


class Tries:
    """The grpc call of the present try, and the way to the next one."""

    def __init__(self, start: Start, attempts: Attempts, *, repeatable: bool) -> None:
        self._start = start
        self._attempts = attempts
        self._left = asyncio.Event()
        self.final = not repeatable
        self._begin()

    async def result(self, action: Awaitable[Any]) -> Any:
        """What ``action`` of the present call gives; its failure as PequodError."""
        try:
            return await action
        except aio.AioRpcError as cause:
            self._attempts.failed(self._sent.instead_of(cause), final=True)
        except asyncio.CancelledError as cause:
            raise self._cancelled() or cause from None

    async def again(self, action: Callable[[Any], Awaitable[Any]]) -> Any:
        """What ``action`` of the first call that is not refused gives."""
        while True:
            try:
                return await action(self.call)
            except aio.AioRpcError as error:
                cause = self._sent.instead_of(error)
                wait = self._attempts.failed(cause, final=self.final or self._left.is_set())
                if await self._left_within(wait):
                    self._attempts.failed(cause, final=True)
                self._begin()
            except asyncio.CancelledError as cause:
                raise self._cancelled() or cause from None

    def _begin(self) -> None:
        self.call = self._start()
        self._sent = SentStatus(self.call)

    def cancel(self) -> bool:
        """End the present call; there is no next one."""
        self._left.set()
        return bool(self.call.cancel())

    async def _left_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()
        return self._left.is_set()

    def _cancelled(self) -> PequodError | None:
        """The error of a call that ``cancel`` ended; None where the waiting task itself is cancelled."""
        task = asyncio.current_task()
        if not self._left.is_set() or (task is not None and task.cancelling()):
            return None
        return PequodError(
            grpc.StatusCode.CANCELLED, "cancelled by the caller", request_id=self._attempts.request_id
        )


class Call:
    """What a call of any arity offers; everything else that a grpc call has is there too."""

    def __init__(self, tries: Tries) -> None:
        self._tries = tries

    async def write(self, request: Any) -> None:
        """Send one request of a stream of them; waits while the server cannot take more."""
        await self._tries.result(self._tries.call.write(request))

    async def done_writing(self) -> None:
        """Say that no more requests come."""
        await self._tries.result(self._tries.call.done_writing())

    def cancel(self) -> bool:
        """End the call. Who still waits for it gets an error."""
        return self._tries.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tries.call, name)


class Reply(Call):
    """A call with one reply: await it. It begins at once."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._tries.again(_itself).__await__()


class Replies(Call):
    """A call with many replies. Until the first has come a refused call may be tried again, never after."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        reply = await self.read()
        if reply is aio.EOF:
            raise StopAsyncIteration
        return reply

    async def read(self) -> Any:
        """The next reply, or ``grpc.aio.EOF`` after the last."""
        reply = await self._tries.again(_next_reply)
        self._tries.final = True
        return reply


async def _itself(call: Any) -> Any:
    return await call


async def _next_reply(call: Any) -> Any:
    return await call.read()
