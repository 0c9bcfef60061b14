"""Runs the cluster in the foreground, or one thing that may befall it.

``python -m tests.distributed`` starts it, prints the addresses and how to do things to it, until Ctrl-C;
``python -m tests.distributed RUN [--long]`` starts one, does RUN under load and prints its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from tests.distributed import console
from tests.distributed.cluster import running
from tests.distributed.process import NotReady
from tests.distributed.result import Unavailable
from tests.distributed.runs.table import RUNS
from tests.unit.postgres import NoServer

BROKEN, SKIPPED, INTERRUPTED = 1, 3, 130
"""Exit codes: not as promised, and the logs are kept; this machine has not what it takes; Ctrl-C in a run."""


def main() -> int:
    """Nothing is left behind but the logs of a run that went wrong; returns the exit code."""
    arguments = _arguments()
    _on_signals(_leave)
    folder = Path(tempfile.mkdtemp(prefix="pequod-cluster-"))
    try:
        code = _run(arguments, folder)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (NoServer, Unavailable, pytest.skip.Exception) as reason:
        sys.stderr.write(f"cannot be run here: {reason}\n")
        code = SKIPPED
    except (NotReady, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        code = BROKEN
    if code == BROKEN:
        sys.stderr.write(f"logs: {folder}\n")
    else:
        shutil.rmtree(folder)
    return code


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    run = RUNS[arguments.run] if arguments.run else None
    with running(folder, **(run.variables if run else {})) as cluster:
        if run is None:
            with contextlib.suppress(KeyboardInterrupt):
                console.run(cluster)
            _on_signals(_patience)
            return 0
        result = run.run(cluster, "long" if arguments.long else "short")
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
        _on_signals(_patience)
    return 0 if result.passed else BROKEN


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.distributed", description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", choices=sorted(RUNS))
    parser.add_argument("--long", action="store_true", help="the long form, as in deploy/RELIABILITY.md")
    arguments = parser.parse_args()
    if arguments.long and not arguments.run:
        parser.error("--long needs a run")
    return arguments


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    _on_signals(_patience)
    raise KeyboardInterrupt


def _patience(number: int, frame: FrameType | None) -> None:
    """Whoever asks a second time would leave processes behind."""
    sys.stderr.write("what was started is being ended\n")


if __name__ == "__main__":
    sys.exit(main())
