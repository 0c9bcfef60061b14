"""The command line ``pequod``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``pequod`` script."""
    from gateway.cli.app import run

    sys.exit(run(sys.argv[1:]))
