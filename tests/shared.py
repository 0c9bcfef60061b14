"""What is made once for a run of the tests, however many processes share them out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The run's folder ``name``, filled by ``make`` in the process that asks first; others wait for it."""
    base = factory.getbasetemp()
    # Each process of pytest-xdist has a folder within the run's.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    done = folder.parent / f"{folder.name}.made"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder
