"""Runs the cluster in the foreground, or one thing that may befall it.

``python -m tests.distributed`` starts it, prints the addresses and how to do things to it, until Ctrl-C;
``python -m tests.distributed RUN [--long]`` starts one, does RUN under load and prints its figures.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import pytest

from tests.distributed import console
from tests.distributed.cluster import running
from tests.distributed.process import NotReady
from tests.distributed.result import Unavailable
from tests.distributed.runs.table import RUNS
from tests.unit.postgres import NoServer

SKIPPED = 3
"""Exit code where this machine has not what it takes."""


def main() -> int:
    """0: as promised; 1: a rule was broken; 3: it cannot be run here."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="pequod-cluster-"))
    try:
        with running(folder, **(RUNS[arguments.run].variables if arguments.run else {})) as cluster:
            if not arguments.run:
                return console.run(cluster)
            result = RUNS[arguments.run].run(cluster, "long" if arguments.long else "short")
    except (NoServer, Unavailable, pytest.skip.Exception) as reason:
        sys.stderr.write(f"cannot be run here: {reason}\n")
        shutil.rmtree(folder)
        return SKIPPED
    except NotReady as error:
        sys.stderr.write(f"{error}\nlogs: {folder}\n")
        return 1
    sys.stdout.write(f"{result}\n")
    if result.broken:
        sys.stderr.write(f"logs: {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.distributed", description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", choices=sorted(RUNS))
    parser.add_argument("--long", action="store_true", help="the long form, as in deploy/RELIABILITY.md")
    return parser.parse_args()


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
