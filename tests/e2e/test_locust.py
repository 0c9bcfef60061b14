"""The Locust users, run headless by Locust itself against the real platform."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.environment import programs

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests/load/locust/locustfile.py"
NAMES = {
    *("Generate", "GenerateStream", "GenerateStream, first piece", "Embed", "CountTokens"),
    *("/v1/completions", "/v1/embeddings", "/pequod.tokenizer.v1.TokenizerService/CountTokens"),
}
"""Lines of a run; which of them there are is up to chance."""


def run(platform, out, target):
    """Some seconds of eight users; Locust's exit code, its words, and its table by name."""
    command = [
        *(str(programs("locust") / "locust"), "-f", str(FILE), "--host", platform.http, "--headless"),
        *("--users", "8", "--spawn-rate", "8", "--run-time", "5s", "--stop-timeout", "20"),
        *("--csv", str(out / "table"), "--only-summary"),
    ]
    environ = {key: value for key, value in os.environ.items() if key != "PEQUOD_API_KEY"}
    environ |= {"PYTHONPATH": str(ROOT / "protos"), "PEQUOD_TARGET": target}
    done = subprocess.run(
        command, env=environ, cwd=out, capture_output=True, text=True, timeout=200, check=False
    )
    with (out / "table_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file) if row["Name"] != "Aggregated"}
    return done, rows


@pytest.mark.timeout(400)
def test_calls_through_both_doors_are_right(platform, tmp_path):
    done, rows = run(platform, tmp_path, platform.grpc)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(rows) <= NAMES, done.stderr
    assert {row["Type"] for row in rows.values()} == {"grpc", "POST"}
    assert {name: row["Failure Count"] for name, row in rows.items() if row["Failure Count"] != "0"} == {}


@pytest.mark.timeout(400)
def test_failures_are_told_of_with_their_code(platform, tmp_path):
    """At a port where nothing listens gRPC users fail, and those of HTTP do not mind."""
    done, rows = run(platform, tmp_path, "127.0.0.1:1")
    assert done.returncode == 1
    assert int(rows["CountTokens"]["Failure Count"]) == int(rows["CountTokens"]["Request Count"]) > 0
    assert rows["/v1/embeddings"]["Failure Count"] == "0"
    assert "UNAVAILABLE" in (tmp_path / "table_failures.csv").read_text()
