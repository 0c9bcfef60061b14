"""W3C trace context in the metadata of calls: ``traceparent``, ``tracestate``, ``baggage``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from services.common.tracing import spans

PARENT_KEY, STATE_KEY, BAGGAGE_KEY = "traceparent", "tracestate", "baggage"
KEYS = (PARENT_KEY, STATE_KEY, BAGGAGE_KEY)

Pairs: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_parent = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def context_in(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """What a caller says of its own span; nothing where it says nothing."""
    return {
        key: value for key, value in metadata if key in (PARENT_KEY, STATE_KEY) and isinstance(value, str)
    }


def trace_id_in(parent: str) -> str:
    """The trace that a well-formed ``traceparent`` names; empty otherwise."""
    found = _parent.fullmatch(parent)
    return found[1] if found else ""


def onward(metadata: Pairs) -> Pairs:
    """``metadata`` with the current span as the parent of whatever is called; baggage goes on as it came.

    Where tracing is off, all of it does.
    """
    own = spans.headers()
    if not own:
        return metadata
    others = (pair for pair in metadata if pair[0] not in (PARENT_KEY, STATE_KEY))
    return (*others, *own.items())
