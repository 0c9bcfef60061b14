"""A platform in use is copied, wiped, put back in another place, and answers there as it did before."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time

import pytest

from tests.e2e.conftest import PEQUOD, QUIET, environment, started
from tests.ports import lasting_ports
from tests.unit.finetune.job_parts import TINY_LM, book

SETTINGS = {"PEQUOD_FINETUNE_JOB_THREADS": "1", "PEQUOD_FINETUNE_NICE": "0"}
NGRAM = ("finetune", "books", "--recipe", "ngram", "--name", "mine", "--watch")
TEXT = ("text", "--model", "mine", "--order", "3", "--seed", "7", "THE ")
LM = [
    *("finetune", "books", "--recipe", "pretrain_lm", "--name", "slow", "--steps", "200000", "--json"),
    *(part for name, value in TINY_LM.items() for part in ("--set", f"{name}={value}")),
]


def command(folder, *arguments):
    """The command line where no platform runs."""
    variables = environment(lasting_ports(13))
    done = subprocess.run(
        [PEQUOD, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def job_of(platform, job_id):
    return json.loads(platform.run("jobs", "show", job_id, "--json").stdout)["job"]


def answers(platform):
    """What callers get: text, models with their digests, jobs and data sets by their ids."""
    jobs = json.loads(platform.run("jobs", "ls", "--json").stdout)["jobs"]
    models = json.loads(platform.run("models", "ls", "--json").stdout)["models"]
    shown = json.loads(platform.run("models", "show", "mine:1", "--json").stdout)["model"]
    return {
        "text": platform.run(*TEXT).stdout,
        "old": platform.run(*TEXT[:2], "mine@first", *TEXT[3:]).stdout,
        "models": sorted(f"{each['name']}:{each['version']} {each.get('aliases')}" for each in models),
        "digest": shown["digest"],
        "jobs": sorted(each["jobId"] for each in jobs),
        "data sets": platform.run("datasets", "ls", "--json").stdout,
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_was_copied_in_use_answers_the_same_elsewhere(tmp_path):
    here, there, copy = tmp_path / "here", tmp_path / "there", str(tmp_path / "copy")
    for folder in (here, there):
        folder.mkdir()
    (here / "books").mkdir()
    (here / "books/0.txt").write_bytes(book(0))
    key = command(here, "keys", "create", "laptop").strip()
    with started(here, **QUIET, **SETTINGS, PEQUOD_API_KEY=key) as platform:
        for order in ("3", "2"):
            done = platform.run(*NGRAM, "--set", f"order={order}", timeout=100)
            assert done.returncode == 0, done.stderr
        assert platform.run("models", "alias", "mine", "first", "1").returncode == 0
        running = json.loads(platform.run(*LM).stdout)["job"]["jobId"]
        before = answers(platform)
        stop, replies = threading.Event(), []
        caller = threading.Thread(target=call, args=(platform, stop, replies))
        caller.start()
        saved = platform.run("backup", copy, "--json", timeout=100)
        stop.set()
        caller.join()
        assert saved.returncode == 0, saved.stderr
        assert job_of(platform, running)["state"] == "JOB_STATE_RUNNING"
        assert replies
        assert set(replies) == {before["text"]}, "nobody was held up"
    shutil.rmtree(here)
    assert json.loads(command(there, "verify", copy, "--json"))["versions"] == 2
    command(there, "restore", copy)
    with started(there, **QUIET, **SETTINGS, PEQUOD_API_KEY=key) as platform:
        assert answers(platform) == before
        deadline = time.monotonic() + 120
        while (job := job_of(platform, running))["state"] != "JOB_STATE_RUNNING" or job["attempts"] < 2:
            assert time.monotonic() < deadline, job
        assert platform.run("jobs", "cancel", running).returncode == 0
        assert "laptop" in platform.run("usage", "--json").stdout
        del platform.environment["PEQUOD_API_KEY"]
        refused = platform.run(*TEXT)
        assert refused.returncode == 1
        assert "UNAUTHENTICATED" in refused.stderr


def call(platform, stop, replies):
    while not stop.is_set():
        replies.append(platform.run(*TEXT).stdout)
