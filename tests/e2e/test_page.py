"""The page in headless Chromium: every tab, the keyboard, a narrow window; no request leaves the host."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.environment import programs
from tests.clients.page import VISITS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python():
    """The Python that has Playwright."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    return programs("playwright") / "python"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("visit", VISITS)
def test_visit(visit, python, platform):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-m", "tests.clients.page", visit, platform.http]
    done = subprocess.run(
        command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
