"""Fields that requests about data sets and jobs share; each raises INVALID_ARGUMENT naming its field."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.common.errors import invalid

MOST_PAGE = 1000
USUAL_PAGE = 100
_MOST_LABELS, _MOST_KEY, _MOST_VALUE = 16, 64, 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_uuid(field: str, text: str) -> str:
    """A UUID in its usual spelling."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        what = "required; it is empty" if not text else f"{text[:80]!r} is no UUID"
        raise invalid(field, what) from None


def read_id(field: str, text: str, prefix: str) -> str:
    """An id: ``prefix``, "-" and 26 letters and digits."""
    if not text:
        raise invalid(field, "required; it is empty")
    if not re.fullmatch(rf"{prefix}-[0-9a-z]{{26}}", text):
        raise invalid(field, f"{text[:80]!r} is not '{prefix}-' and 26 letters and digits")
    return text


def read_page_size(given: int, most: int = MOST_PAGE) -> int:
    """How many there are on a page."""
    if given > MOST_PAGE:
        raise invalid("page_size", f"{given} is not in 0..{MOST_PAGE}")
    return min(given or USUAL_PAGE, most)


def read_labels(field: str, given: Mapping[str, str]) -> dict[str, str]:
    """Notes of the caller's own."""
    if len(given) > _MOST_LABELS:
        raise invalid(field, f"are {len(given)}, at most {_MOST_LABELS}")
    for key, value in given.items():
        if not 1 <= len(key) <= _MOST_KEY:
            raise invalid(field, f"key {key[:80]!r} has {len(key)} characters; it must have 1..{_MOST_KEY}")
        if len(value) > _MOST_VALUE:
            raise invalid(field, f"the value of {key!r} has {len(value)} characters, at most {_MOST_VALUE}")
        if "\0" in key + value:
            raise invalid(field, f"{key!r} holds a NUL")
    return dict(given)


def read_enum(field: str, value: int, known: Mapping[int, Any]) -> Any:
    """What a value of an enum stands for."""
    if value not in known:
        raise invalid(field, f"{value} is none of the values 0..{max(known)}")
    return known[value]


def place_token(created_at: datetime, name: str) -> str:
    """A token of the page after what was created then and is called so."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(json.dumps([microseconds, name]).encode()).decode()


def read_place(token: str, prefix: str) -> tuple[datetime, str] | None:
    """Creation time and id of the last one of the page before; None for the first page."""
    if not token:
        return None
    try:
        microseconds, name = json.loads(base64.b64decode(token.encode(), b"-_", validate=True))
        if type(microseconds) is not int or not re.fullmatch(rf"{prefix}-[0-9a-z]{{26}}", name):
            raise ValueError(token)
        return _EPOCH + timedelta(microseconds=microseconds), name
    except (ValueError, TypeError, OverflowError):
        raise invalid("page_token", "is not one that this service gave") from None
