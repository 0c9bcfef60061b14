"""Runs a process's main coroutine: a sentence and exit code 2 for a bad setting or a taken address."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from services.common import log
from services.common.settings import SettingsError

BAD_START = 2


def run(name: str, main: Callable[[], Coroutine[Any, Any, None]], log_level: str = "info") -> int:
    """Configure logs, run ``main`` on uvloop and return the exit code."""
    log.configure(name, log_level)
    try:
        uvloop.run(main())
    except (SettingsError, OSError) as error:
        logging.getLogger("pequod.server").error("cannot start: %s", error)
        sys.stderr.write(f"{name}: {error}\n")
        return BAD_START
    return 0
