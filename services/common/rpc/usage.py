"""What a handler and its caller tell each other in metadata: work began, what it used, when it must end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from pequod.common.v1 import Usage

ACCEPTED_KEY = "x-accepted"
USAGE_KEY = "pequod-usage-bin"

Context = grpc.aio.ServicerContext[Any, Any]


async def accepted(context: Context) -> None:
    """Tell the caller that work begins; from here on the gateway never tries the call elsewhere."""
    await context.send_initial_metadata(((ACCEPTED_KEY, "1"),))


def report(context: Context, usage: Usage) -> None:
    """Put ``usage`` in the trailing metadata, where the gateway settles limits without decoding replies."""
    existing = tuple(context.trailing_metadata() or ())
    context.set_trailing_metadata((*existing, (USAGE_KEY, usage.SerializeToString())))


def usage_in(trailing: Iterable[tuple[str, str | bytes]]) -> Usage | None:
    """What ``report`` put there; None where there is nothing that can be read."""
    for key, value in trailing:
        if key == USAGE_KEY and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return Usage.FromString(value)
    return None


def deadline_of(context: Context) -> float | None:
    """When the caller stops waiting, on the clock of ``time.monotonic``; None when it set no deadline."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + float(remaining)
