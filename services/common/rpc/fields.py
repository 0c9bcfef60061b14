"""Checks of single fields, the same in every service; each raises INVALID_ARGUMENT naming its field."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from services.common.errors import invalid
from services.common.store.reference import parse_reference


def whole(field: str, value: int, least: int, most: int) -> int:
    """A number within its limits."""
    if not least <= value <= most:
        raise invalid(field, f"must be in {least}..{most}, got {value}")
    return value


def number(field: str, value: float, least: float, most: float) -> float:
    """A finite number within its limits."""
    if not (math.isfinite(value) and least <= value <= most):
        raise invalid(field, f"must be in {least:g}..{most:g}, got {value:g}")
    return value


def one_of(field: str, value: int, known: Collection[int]) -> int:
    """One of a few numbers."""
    if value not in known:
        raise invalid(field, f"must be one of {', '.join(map(str, known))}, got {value}")
    return value


def reference(field: str, text: str) -> str:
    """A model reference, or nothing; whether there is such a model is for the store to say."""
    if text:
        parse_reference(text, field)
    return text


def enum(field: str, value: int, kind: Any) -> int:
    """A value of the protobuf enum ``kind``."""
    if value not in kind.values():
        raise invalid(field, f"{value} is no value of {kind.DESCRIPTOR.full_name}")
    return value
