"""Makes the environment of a client: a virtual environment with exactly the packages of its lock."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_HOME = _HERE.parents[1] / "var/clients"


def programs(name: str) -> Path:
    """The ``bin`` folder for ``tests/clients/NAME.txt``, made once. Skips the test where it cannot be."""
    lock = _HERE / f"{name}.txt"
    known = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _HOME / f"{name}-{known}"
    done = folder / "installed"
    if not done.exists():
        environ = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin/pip"), "install", "--quiet", "--requirement", str(lock)],
        ):
            made = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no environment for {name}: {made.stderr.strip()[-300:]}")
        done.touch()
    return folder / "bin"
