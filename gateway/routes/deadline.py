"""How a caller over HTTP says how long it will wait."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from services.common.errors import invalid

SECONDS_HEADER = "x-timeout-seconds"
GRPC_HEADER = "grpc-timeout"

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC_FORM = re.compile(r"(\d{1,8})([HMSmun])")


def timeout_from(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``x-timeout-seconds`` or ``grpc-timeout`` ("250m"); None when neither is given."""
    if (seconds := headers.get(SECONDS_HEADER)) is not None:
        return _seconds(seconds)
    if (text := headers.get(GRPC_HEADER)) is not None:
        form = _GRPC_FORM.fullmatch(text)
        if form is None:
            raise invalid(GRPC_HEADER, f"{text!r} is not digits and one of H, M, S, m, u, n")
        return int(form[1]) * _UNITS[form[2]]
    return None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise invalid(SECONDS_HEADER, f"{text!r} is not a number above 0")
    return seconds
