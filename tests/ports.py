"""Ports for servers that go away and come back on the same one."""

from __future__ import annotations

import contextlib
import random
import socket

_RANGE = range(15_000, 30_000)
"""Below those that systems give to the clients' ends of connections: a client that tries again and again to
reach a server that is away may be given the server's own port, and then holds it.
"""


def lasting_ports(count: int) -> list[int]:
    """Different TCP ports that are free on every address of this machine. Raises OSError without enough."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):
            if len(found) == count:
                return found
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                found.append(port)
    raise OSError(f"only {len(found)} of {count} ports are free")
