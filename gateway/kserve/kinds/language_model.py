"""A transformer that writes."""

from __future__ import annotations

from gateway.kserve.kind import Kind, Served
from gateway.kserve.writing import kind_of


def opened(served: Served) -> Kind:
    """Text in, text out."""
    return kind_of(served)
