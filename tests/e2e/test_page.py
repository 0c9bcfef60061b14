"""The page in headless Chromium: every tab, the keyboard, a narrow window; no request leaves the host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.clients.environment import programs
from tests.clients.page import KEYED, LONG_VISITS, VISITS
from tests.e2e.conftest import QUIET, started

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def visit():
    """Makes a visit by the Python that has Playwright."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    python = programs("playwright") / "python"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def make(name: str, *arguments: str) -> None:
        command = [python, "-m", "tests.clients.page", name, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=580, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return make


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    """A platform of its own: visits train, publish and load models, which others would notice."""
    with started(tmp_path_factory.mktemp("visited")) as platform:
        yield platform


@pytest.mark.parametrize(
    "name", [*VISITS, *(pytest.param(each, marks=pytest.mark.slow) for each in LONG_VISITS)]
)
def test_visit(name, visit, visited):
    visit(name, visited.http)


def test_keys(visit, tmp_path):
    """What the page says to whoever has no key, the wrong one, or one that is used up."""
    with started(tmp_path, **QUIET) as platform:
        keys = [
            _key(platform, *options)
            for options in (("full",), ("texts", "--group", "text"), ("few", "--requests", "1"))
        ]
        _asked_for(platform)
        visit(KEYED, platform.http, *keys)


def _key(platform, *options):
    made = platform.run("keys", "create", *options, "--json")
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)["key"]


def _asked_for(platform):
    """The gateway looks at the file every second."""
    ends = time.monotonic() + 30
    while platform.post("pequod.model.v1.ModelService/ListModels", {})[0] != 401:
        assert time.monotonic() < ends, "the gateway never asked for a key"
        time.sleep(0.2)
