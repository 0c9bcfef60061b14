"""Runs the gateway: ``python -m gateway``."""

from __future__ import annotations

import sys

from gateway.app import serve
from gateway.settings import load
from services.common import log
from services.common.metrics import Metrics
from services.common.rpc.process import run


async def main() -> None:
    """Read the settings and serve."""
    settings = load()
    log.configure("gateway", settings.listeners.log_level)
    await serve(settings, Metrics("gateway"))


if __name__ == "__main__":
    sys.exit(run("gateway", main))
