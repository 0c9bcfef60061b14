"""What every process has in common: its settings, its event loop, its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop

from services.common import log
from services.common.errors import ServiceError
from services.common.gpu_share import cap_gpu
from services.common.settings import SettingsError, from_environment, setting
from services.common.threads import cap_threads, own_threads
from services.common.tracing.starting import tracing

BAD_START = 2
"""Exit code: starting again would not help before somebody has changed a setting."""
NOT_NOW = 1
"""Exit code: something that the process needs is away; starting again may help."""


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of every process, the gateway and the services."""

    host: str = setting("127.0.0.1", env="PEQUOD_HOST", help="Address to listen on.")
    insecure: bool = setting(
        False, env="PEQUOD_INSECURE", help="Set to 1 to listen on other addresses than loopback without TLS."
    )
    drain_seconds: float = setting(
        0.0,
        env="PEQUOD_DRAIN_SECONDS",
        help="Seconds between NOT_SERVING and closing the listeners, for load balancers to notice.",
        minimum=0,
        maximum=300,
    )
    grace_seconds: float = setting(
        30.0,
        env="PEQUOD_GRACE_SECONDS",
        help="Seconds that calls in flight have to finish at shutdown.",
        minimum=0,
        maximum=3600,
    )
    log_level: str = setting(
        "info",
        env="PEQUOD_LOG_LEVEL",
        help="Least severe log line to write.",
        choices=("debug", "info", "warning", "error"),
    )


def run(name: str, main: Callable[[], Coroutine[Any, Any, None]], services: int = 0) -> int:
    """Configure logs, run ``main`` on uvloop and return the exit code.

    A process that computes names how many ``services`` share a machine: its threads are capped.

    A bad setting or a taken address ends with a sentence on stderr and BAD_START, a database that is away
    with NOT_NOW.
    """
    try:
        log.configure(name, from_environment(ProcessSettings).log_level)
        if services:
            cap_threads(own_threads(services))
            cap_gpu(name)
        with tracing(name):
            uvloop.run(main())
    except (SettingsError, OSError) as error:
        logging.getLogger("pequod.server").error("cannot start: %s", error)
        sys.stderr.write(f"{name}: {error}\n")
        return BAD_START
    except ServiceError as error:
        logging.getLogger("pequod.server").error("cannot start now: %s", error)
        sys.stderr.write(f"{name}: {error}\n")
        return NOT_NOW
    return 0
