"""Triton's own load tester as an outside witness: it measures embedders and streams of the real platform."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.environment import programs

pytestmark = pytest.mark.timeout(600)  # an environment may have to be made

REQUESTS = 20
PACKAGE = "libb64-0d"
"""Debian's, which the program is linked with."""
_MEASURE = ("--measurement-mode", "count_windows", "--measurement-request-count", str(REQUESTS))
_STABLE = ("--stability-percentage", "999", "--concurrency-range", "2")


@pytest.fixture(scope="module")
def analyzer():
    """The program, and the variables it runs with. Skips where its libraries cannot be had."""
    folder = programs("perf_analyzer").parent
    libraries = [_debian(folder), *folder.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")]
    path = ":".join(map(str, libraries))
    return folder / "bin/perf_analyzer", {**os.environ, "LD_LIBRARY_PATH": path}


def _debian(folder: Path) -> Path:
    """The folder with PACKAGE's library, unpacked beside the environment; nothing is installed."""
    found = next(folder.glob("debian/usr/lib/*"), None)
    if found is not None:
        return found
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip(f"perf_analyzer needs Debian's {PACKAGE}, and there is no apt-get here")
    fetched = subprocess.run(
        ["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    archive = next(folder.glob(f"{PACKAGE}_*.deb"), None)
    if archive is None:
        pytest.skip(f"perf_analyzer needs Debian's {PACKAGE}: {fetched.stderr.strip()[-200:]}")
    subprocess.run(["dpkg", "-x", archive, folder / "debian"], timeout=60, check=True)
    return next(folder.glob("debian/usr/lib/*"))


def measured(analyzer, folder, model, data, *options):
    """What the program prints of ``model``, asked with ``data``."""
    program, variables = analyzer
    file = folder / "data.json"
    rows = {name: {"content": content, "shape": [len(content)]} for name, content in data.items()}
    file.write_text(json.dumps({"data": [rows]}))
    done = subprocess.run(
        [program, "-m", model, "--input-data", file, *_MEASURE, *_STABLE, *options],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode and "error while loading shared libraries" in done.stderr:
        pytest.skip(f"perf_analyzer does not run here: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def counts(output):
    """The numbers after each "count" that client and server report."""
    return {name: int(count) for name, count in re.findall(r"([A-Z][a-z ]+ count): (\d+)", output)}


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_it_measures_an_embedder(platform, analyzer, tmp_path, door):
    address = {"grpc": platform.grpc, "http": platform.http.removeprefix("http://")}[door]
    output = measured(analyzer, tmp_path, "minilm", {"text": ["a whale"]}, "-i", door, "-u", address)
    found = counts(output)
    assert found["Request count"] >= REQUESTS
    # The server's window begins and ends with a look at its statistics, a few requests apart.
    assert found["Successful request count"] >= REQUESTS
    assert found["Inference count"] == found["Execution count"] == found["Successful request count"]
    assert "compute infer" in output


def test_it_measures_streams(platform, analyzer, tmp_path):
    data = {"text_input": ["The old captain"], "max_tokens": [8], "seed": [7]}
    options = ("-i", "grpc", "--streaming", "-u", platform.grpc)
    output = measured(analyzer, tmp_path, "storyteller", data, *options)
    assert "Detected decoupled model" in output
    assert counts(output)["Request count"] >= REQUESTS
