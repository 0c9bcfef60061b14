"""The methods of a stub with the client's policy around them, for blocking calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc

from pequod_client.policy import Attempts, CallPolicy

Stub = TypeVar("Stub")


def with_policy(stub: Stub, policy: CallPolicy) -> Stub:
    """The same stub; each of its methods now follows ``policy`` and raises PequodError."""
    for name, method in vars(stub).items():
        setattr(stub, name, _wrapped(method, policy))
    return stub


def _wrapped(method: Any, policy: CallPolicy) -> Unary | Streaming:
    # A request that is an iterator is used up by the first try.
    if isinstance(method, grpc.UnaryUnaryMultiCallable):
        return Unary(method, policy, policy.timeout, repeatable=True)
    if isinstance(method, grpc.StreamUnaryMultiCallable):
        return Unary(method, policy, policy.stream_timeout, repeatable=False)
    repeatable = isinstance(method, grpc.UnaryStreamMultiCallable)
    return Streaming(method, policy, policy.stream_timeout, repeatable=repeatable)


@dataclass(frozen=True)
class Unary:
    """A method with one reply. Its ``timeout`` in seconds covers all tries."""

    method: Any
    policy: CallPolicy
    timeout: float
    repeatable: bool

    def __call__(
        self, *request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any:
        """The reply."""
        return self.with_call(*request, timeout=timeout, metadata=metadata, **options)[0]

    def with_call(
        self, *request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any:
        """The reply and the grpc call that brought it, for its metadata."""
        attempts = self.policy.begin(self.timeout if timeout is None else timeout, metadata)
        while True:
            try:
                return self.method.with_call(*request, **attempts.settings(), **options)
            except grpc.RpcError as cause:
                time.sleep(attempts.failed(cause, final=not self.repeatable))

    def future(
        self, *request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any:
        """grpc's own future, with deadline and key; it raises grpc errors and is never tried again."""
        attempts = self.policy.begin(self.timeout if timeout is None else timeout, metadata)
        return self.method.future(*request, **attempts.settings(), **options)


@dataclass(frozen=True)
class Streaming:
    """A method with a stream of replies. Its ``timeout`` in seconds covers the whole stream."""

    method: Any
    policy: CallPolicy
    timeout: float
    repeatable: bool

    def __call__(
        self, *request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Replies:
        """The replies."""
        attempts = self.policy.begin(self.timeout if timeout is None else timeout, metadata)

        def start() -> Any:
            return self.method(*request, **attempts.settings(), **options)

        return Replies(start, attempts, repeatable=self.repeatable)


class Replies(Iterator[Any]):
    """The replies of one call. Until the first has come a refused call may be tried again, never after."""

    def __init__(self, start: Callable[[], Any], attempts: Attempts, *, repeatable: bool) -> None:
        self._start = start
        self._attempts = attempts
        self._final = not repeatable
        self._left = threading.Event()
        self._call = start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                reply = next(self._call)
            except grpc.RpcError as cause:
                wait = self._attempts.failed(cause, final=self._final or self._left.is_set())
                if self._left.wait(wait):
                    self._attempts.failed(cause, final=True)
                self._call = self._start()
            else:
                self._final = True
                return reply

    def cancel(self) -> bool:
        """End the call, from any thread. Who still reads gets an error."""
        self._left.set()
        return bool(self._call.cancel())

    def __getattr__(self, name: str) -> Any:
        """Everything else that a grpc call has: code(), trailing_metadata() ..."""
        return getattr(self._call, name)
