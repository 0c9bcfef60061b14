"""Runs the gateway: ``python -m gateway``."""

from __future__ import annotations

import sys

from gateway.app import serve
from gateway.settings import load
from services.common.metrics import Metrics
from services.common.rpc.process import run


async def main() -> None:
    """Read the settings and serve."""
    await serve(load(), Metrics("gateway"))


if __name__ == "__main__":
    sys.exit(run("gateway", main))
