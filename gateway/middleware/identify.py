"""Request ids and trace context, and what metadata crosses the gateway."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from gateway.call import Call, Metadata
from gateway.middleware.authenticate import CREDENTIALS
from gateway.pipeline import Proceed
from services.common import log
from services.common.rpc.interceptors import REQUEST_ID_KEY
from services.common.rpc.status import DETAILS_KEY
from services.common.rpc.usage import ACCEPTED_KEY
from services.common.tracing.context import PARENT_KEY, trace_id_in

# Belong to one hop, or are made anew on the next one.
HOP_BY_HOP = frozenset(
    (
        *("connection", "content-length", "content-type", "host"),
        *("te", "transfer-encoding", "upgrade", "user-agent"),
    )
)
# Names the platform speaks to itself in; from a caller they would be forged.
INTERNAL = ("x-pequod-", "pequod-", "grpc-")
# The id comes back from the gateway itself.
_STAYS = HOP_BY_HOP | {ACCEPTED_KEY, REQUEST_ID_KEY}
_NEVER = HOP_BY_HOP | CREDENTIALS | {ACCEPTED_KEY}

_valid_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch


class Identify:
    """Names the call: takes the caller's request id if it is well formed, or makes one.

    The caller's other metadata, trace context among it, goes onward without what belongs to
    this hop. The id comes back to the caller in the trailing metadata.
    """

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Fill in ``request_id``, ``onward`` and ``trailing``."""
        given = ""
        onward: list[tuple[str, str | bytes]] = []
        for pair in call.metadata:
            key, value = pair
            if key == REQUEST_ID_KEY:
                given = value if isinstance(value, str) and _valid_id(value) else ""
            elif forwarded(key):
                onward.append(pair)
                if key == PARENT_KEY and isinstance(value, str) and (trace := trace_id_in(value)):
                    log.trace_id.set(trace)
        call.request_id = given or os.urandom(16).hex()
        identity = (REQUEST_ID_KEY, call.request_id)
        call.onward = (identity, *onward)
        call.trailing = (identity,)
        log.request_id.set(call.request_id)
        await proceed(call)


def forwarded(key: str) -> bool:
    """Whether a caller's metadata under ``key`` reaches the backend."""
    return (
        key not in HOP_BY_HOP
        and key not in CREDENTIALS
        and key != ACCEPTED_KEY
        and not key.startswith(INTERNAL)
    )


def returned(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The part of a backend's metadata that reaches the caller; its status details do."""
    return tuple(pair for pair in metadata if pair[0] == DETAILS_KEY or _goes_back(pair[0]))


def _goes_back(key: str) -> bool:
    return key not in _STAYS and not key.startswith("grpc-")
