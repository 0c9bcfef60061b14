"""How the commands reach the gateway."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from gateway.cli import output
from pequod_client import TLS, Client

DEFAULT_TARGET = "127.0.0.1:50051"


def connect(timeout: float | None = None) -> Client:
    """A client of the gateway at PEQUOD_TARGET; ``timeout`` is the default deadline in seconds.

    It shows the key in PEQUOD_API_KEY. PEQUOD_TLS_CA names a PEM file of authorities; then the connection
    is under TLS.
    """
    target = os.environ.get("PEQUOD_TARGET", DEFAULT_TARGET)
    key = os.environ.get("PEQUOD_API_KEY") or None
    if timeout is None:
        return Client(target, api_key=key, tls=_tls())
    return Client(target, api_key=key, tls=_tls(), timeout=timeout)


def _tls() -> TLS | None:
    path = os.environ.get("PEQUOD_TLS_CA")
    if not path:
        return None
    try:
        return TLS(authorities=Path(path).read_bytes())
    except OSError as error:
        output.fail(f"PEQUOD_TLS_CA={path!r} cannot be read: {error.strerror}")
        raise typer.Exit(2) from None
