"""What jobs made and who used it, of a folder and SQLite, put back into a bucket and PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.e2e.conftest import PEQUOD, QUIET, environment, started
from tests.ports import lasting_ports
from tests.unit.finetune.job_parts import TINY_LM, book
from tests.unit.finetune.object_store import BUCKET, serving_s3
from tests.unit.postgres import NoServer, database, server

SETTINGS = {**QUIET, "PEQUOD_FINETUNE_JOB_THREADS": "1", "PEQUOD_FINETUNE_NICE": "0"}
BASE = ("--recipe", "pretrain_lm", "--name", "base", "--steps", "20", "--seed", "1", "--watch")
ADAPTER = ("--recipe", "lora_lm", "--base", "base", "--name", "tuned", "--steps", "4", "--watch")
TUNING = {
    **{"lora_rank": 2, "window": 16, "batch": 2, "at_once": 2, "warm_up": 1, "rate": 0.05},
    **{"measured_rows": 2, "preview_tokens": 4},
}
TEXT = ("text", "--model", "base", "--seed", "7", "--max-tokens", "12", "--json", "THE ")


def chosen(options):
    return [part for name, value in options.items() for part in ("--set", f"{name}={value}")]


def command(folder, *arguments, **variables):
    """The command line where no platform runs."""
    done = subprocess.run(
        [PEQUOD, *arguments],
        cwd=folder,
        env=environment(lasting_ports(13)) | variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(platform, *arguments, timeout=100):
    done = platform.run(*arguments, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(platform, *adapter):
    """What the base writes, its tokens, not how long they took; once what it takes is loaded."""
    ends = time.monotonic() + 120
    while '"LOADING"' in (done := platform.run(*TEXT, *adapter)).stderr:
        assert time.monotonic() < ends, done.stderr
    assert done.returncode == 0, done.stderr
    return {name: value for name, value in json.loads(done.stdout).items() if name != "usage"}


def texts(platform):
    """Without an adapter, and with each version of it."""
    return [
        written(platform),
        *(written(platform, "--adapter", f"tuned{each}") for each in ("", "@first", ":2")),
    ]


def history(platform):
    """All jobs as their owner reads them: spec and state, every event, every checkpoint."""
    jobs = json.loads(said(platform, "jobs", "ls", "--json"))["jobs"]
    ids = sorted(each["jobId"] for each in jobs)
    return {
        job_id: [
            json.loads(said(platform, "jobs", "show", job_id, "--json"))["job"],
            [json.loads(line) for line in said(platform, "jobs", "watch", job_id, "--json").splitlines()],
            json.loads(said(platform, "jobs", "checkpoints", job_id, "--json"))["checkpoints"],
        ]
        for job_id in ids
    }


def versions(platform):
    """(digest, parent, aliases) of the models that jobs made."""
    found = {}
    for name in ("base:1", "tuned:1", "tuned:2"):
        model = json.loads(said(platform, "models", "show", name, "--json"))["model"]
        found[name] = [model.get(field) for field in ("digest", "parent", "aliases", "tenant", "kind")]
    return found


def used(folder, **variables):
    return json.loads(command(folder, "usage", "--by", "tenant,key,model,method", "--json", **variables))


@pytest.fixture
def elsewhere(monkeypatch):
    """Settings of a platform with a bucket and two databases of a server."""
    try:
        with (
            serving_s3(monkeypatch),
            server() as url,
            database(url) as jobs,
            database(url) as usage,
        ):
            yield {
                "PEQUOD_STORE": f"s3://{BUCKET}/models",
                "PEQUOD_DATASETS": f"s3://{BUCKET}/datasets",
                "PEQUOD_DATABASE_URL": jobs,
                "PEQUOD_GATEWAY_DATABASE_URL": usage,
            }
    except NoServer as error:
        pytest.skip(f"PostgreSQL: {error}")


def made_here(folder, key):
    """A base and two versions of an adapter of it, by jobs; what they say."""
    with started(folder, **SETTINGS, PEQUOD_API_KEY=key) as platform:
        said(platform, "finetune", "books", *BASE, *chosen(TINY_LM), timeout=200)
        for seed in ("1", "2"):
            said(platform, "finetune", "books", *ADAPTER, "--seed", seed, *chosen(TUNING), timeout=200)
        said(platform, "models", "alias", "tuned", "first", "1")
        return texts(platform), versions(platform), history(platform)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_adapter_writes_the_same_where_everything_else_is_another(tmp_path, elsewhere):
    here, there, copy = tmp_path / "here", tmp_path / "there", str(tmp_path / "copy")
    for folder in (here, there):
        folder.mkdir()
    (here / "books").mkdir()
    for number in range(3):
        (here / f"books/{number}.txt").write_bytes(book(number))
    key = command(here, "keys", "create", "laptop").strip()
    lost = json.loads(command(here, "keys", "create", "lost", "--json"))
    command(here, "keys", "revoke", lost["id"])
    before = made_here(here, key)
    plain, *adapted = before[0]
    assert plain not in adapted, "the adapter changes what is written"
    assert adapted[0] == adapted[2] != adapted[1], "its versions differ, and the newest is the default"
    usage = used(here)
    assert any(row["method"].endswith("CreateJob") and row["calls"] == 3 for row in usage["usage"]), usage
    command(here, "backup", copy)
    command(there, "restore", copy, **elsewhere)
    assert used(there, **elsewhere) == usage
    with started(there, **SETTINGS, **elsewhere, PEQUOD_API_KEY=key) as platform:
        assert not (there / "var/models").exists()
        assert (texts(platform), versions(platform), history(platform)) == before
        adapter = next(job for job, (shown, *_) in before[2].items() if shown.get("model") == "tuned:1")
        assert said(platform, "jobs", "promote", adapter, "--name", "again") == "again:1\n"
        assert written(platform, "--adapter", "again") == adapted[1]
        platform.environment["PEQUOD_API_KEY"] = lost["key"]
        refused = platform.run(*TEXT)
        assert refused.returncode == 1
        assert "UNAUTHENTICATED" in refused.stderr
