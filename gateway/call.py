"""One call on its way through the gateway, whichever door it came in by."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import grpc
from google.protobuf.message import Message

from gateway.methods import Method
from gateway.principal import EVERYBODY, Principal
from pequod.common.v1 import Usage

if TYPE_CHECKING:
    from gateway.upstream.pool import Pool

Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"


class Replies(Protocol):
    """Where a stream's replies go: the caller, behind one of the doors."""

    async def begin(self, metadata: Metadata) -> None:
        """Send initial metadata; at most once, before the first message."""

    async def send(self, message: bytes) -> None:
        """Send one message; returns when the caller can take the next."""


@dataclass(slots=True, eq=False)
class Call:
    """What the steps of the pipeline read and fill in.

    ``request`` is the serialized message, or the stream of them. ``remaining`` is the time in
    seconds that the caller gave, None when it gave no limit. The steps fill in the rest: the
    ``deadline`` is on the clock of ``time.monotonic``, ``onward`` is the metadata for the
    backend, ``trailing`` the metadata for the caller, ``reply`` the one message of a method
    without a stream of replies, ``usage`` what the service reported. ``message`` is the first
    request, once some step had to look into it. ``begun`` is true from the moment the call may not be tried
    again: a backend accepted it, or the caller received something.
    """

    method: Method
    metadata: Metadata
    request: bytes | AsyncIterable[bytes]
    remaining: float | None
    replies: Replies
    request_id: str = ""
    principal: Principal = EVERYBODY
    message: Message | None = None
    deadline: float = 0.0
    onward: Metadata = ()
    trailing: Metadata = ()
    pool: Pool | None = None
    reply: bytes = b""
    usage: Usage | None = None
    begun: bool = False


class BackendError(Exception):
    """A status that came from a backend, to be passed on unchanged."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: Metadata = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailing = trailing
