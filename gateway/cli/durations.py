"""Spans of time as people type them: ``30d``, ``12h``, ``90m``, ``45s``."""

from __future__ import annotations

import re

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def seconds_of(text: str) -> float:
    """The seconds in ``text``. Raises ValueError for what is no span of time."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms])", text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no span of time such as 30d, 12h, 90m or 45s")
    return float(match[1]) * _SECONDS[match[2]]
