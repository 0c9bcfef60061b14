"""Work of any weight, on the loop or beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# From here on the work takes long enough to keep other calls waiting.
_HEAVY = 256 * 1024


async def weighed(weight: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work``'s result; in a thread where ``weight``, in bytes or elements, is large."""
    if weight < _HEAVY:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
