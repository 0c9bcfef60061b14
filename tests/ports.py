"""Ports for servers, which nobody else is given meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import socket

_RANGE = range(15_000, 30_000)
"""Below those that systems give to the clients' ends of connections: one of those may be given a port between
its choice and its server's start, or while its server is away.
"""
_given: set[int] = set()
"""By this process: their servers may not have started yet, or be away."""


def lasting_ports(count: int) -> list[int]:
    """Different TCP ports that are free on every address of this machine. Raises OSError without enough."""
    found: list[int] = []
    own = sorted(set(_own()) - _given)
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(own, len(own)):
            if len(found) == count:
                _given.update(found)
                return found
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                found.append(port)
    raise OSError(f"only {len(found)} of {count} ports are free")


def _own() -> range:
    """Of several processes that share the tests out, each has its own part of the range."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _RANGE[number::workers]
