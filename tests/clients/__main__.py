"""Makes the environments of all clients before tests ask for them: ``python -m tests.clients``.

Exit code 0 even where one cannot be made: it is named, and its tests try again and are skipped.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.environment import programs

_AT_A_TIME = 2
"""Of pip: half of its time is waiting for the index."""


def main() -> None:
    """One environment for each lock of this folder."""
    names = sorted(lock.stem for lock in Path(__file__).parent.glob("*.txt"))
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for trouble in pool.map(_trouble, names):
            sys.stderr.write(trouble)


def _trouble(name: str) -> str:
    """A line about what hindered it; empty once the environment is there."""
    try:
        programs(name)
    except pytest.skip.Exception as reason:
        return f"{reason}\n"
    return ""


if __name__ == "__main__":
    main()
