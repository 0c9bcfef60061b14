"""Makes environments for tests: virtual environments with exactly the packages of a lock, made once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

_HERE = Path(__file__).parent
_HOME = _HERE.parents[1] / "var/clients"


def programs(name: str) -> Path:
    """The ``bin`` folder for ``tests/clients/NAME.txt``. Skips the test where it cannot be made.

    The file names every package there is to be, so nothing is left to find out.
    """
    lock = _HERE / f"{name}.txt"
    return _made(name, lock.read_bytes(), ("--no-deps", "--requirement", str(lock)))


def holding(name: str, packages: Sequence[str], lock: Path) -> Path:
    """The ``bin`` folder of an environment with ``packages`` at the versions of ``lock``. Skips likewise."""
    known = "\n".join(packages).encode() + lock.read_bytes()
    return _made(name, known, ("--constraint", str(lock), *packages))


def pip(python: Path) -> list[str]:
    """The command that installs into the environment of ``python``, which has no pip of its own."""
    return [sys.executable, "-m", "pip", "--python", str(python)]


def _made(name: str, contents: bytes, arguments: Sequence[str]) -> Path:
    known = hashlib.sha256(contents + sys.version.encode()).hexdigest()[:12]
    folder = _HOME / f"{name}-{known}"
    done = folder / "installed"
    _HOME.mkdir(parents=True, exist_ok=True)
    # Tests in several processes ask for the same one.
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            _make(name, folder, arguments)
            done.touch()
    return folder / "bin"


def _make(name: str, folder: Path, arguments: Sequence[str]) -> None:
    environ = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    python = folder / "bin/python"
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],  # to install a pip takes five seconds
        [*pip(python), "install", "--quiet", *arguments],
    ):
        made = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no environment for {name}: {made.stderr.strip()[-300:]}")
