"""How the commands reach the gateway."""

from __future__ import annotations

import os

from pequod_client import Client

DEFAULT_TARGET = "127.0.0.1:50051"


def connect(timeout: float | None = None) -> Client:
    """A client of the gateway at PEQUOD_TARGET; ``timeout`` is the default deadline in seconds."""
    target = os.environ.get("PEQUOD_TARGET", DEFAULT_TARGET)
    return Client(target) if timeout is None else Client(target, timeout=timeout)
