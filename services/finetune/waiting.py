"""The model store from threads that have no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def wait(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, on an event loop of its own."""
    return asyncio.run(work)
