"""An n-gram model that writes."""

from __future__ import annotations

from gateway.kserve.described import settings
from gateway.kserve.kind import Kind, Served
from gateway.kserve.writing import kind_of


def opened(served: Served) -> Kind:
    """Text in, text out; ``order`` is the N."""
    return kind_of(served, *settings(order="INT32"))
