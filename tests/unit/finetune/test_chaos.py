"""Chaos: service, workers and database connections are killed at random while jobs run; each ends right.

The short form is in ``tests/e2e/test_training_jobs.py``.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time

import grpc
import psutil
import pytest
from google.protobuf import json_format
from sqlalchemy import text

from pequod.finetune import v1
from services.common.store import open_store
from services.finetune.database.settings import open_database
from services.finetune.jobs.claims import MOST_VAIN
from services.finetune.waiting import wait
from tests.unit.finetune.job_parts import TINY_LM, book
from tests.unit.finetune.parts import requests_of, start_of
from tests.unit.finetune.test_kill import Service

SPECS = {
    "counted": ("ngram", {"order": 3}, None),
    "trained": ("pretrain_lm", TINY_LM, 500),
    "again": ("pretrain_lm", {**TINY_LM, "window": 24}, 400),
}
ENDED = {v1.JOB_STATE_SUCCEEDED, v1.JOB_STATE_FAILED, v1.JOB_STATE_CANCELLED}


def kill_service(service, url, dice):
    service.end()
    service.start()


def kill_worker(service, url, dice):
    """All children are workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(service.pid).children()
        if children:
            dice.choice(children).send_signal(signal.SIGKILL)


def kill_connections(service, url, dice):
    """The server ends every session but this one; SQLite has none to end."""
    if not url.startswith("postgresql"):
        kill_worker(service, url, dice)
        return
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    database = open_database(url)
    database.read(lambda connection: connection.execute(text(f"{others} AND datname = current_database()")))
    database.close()


def state_of(service, job_id):
    """None while the service, or its database, does not answer."""
    try:
        return service.jobs.GetJob(v1.GetJobRequest(job_id=job_id), timeout=20).job
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


def create(service, dataset_id, name):
    recipe, parameters, steps = SPECS[name]
    spec = v1.JobSpec(recipe=recipe, dataset_id=dataset_id, output=v1.Output(name=name), steps=steps)
    json_format.ParseDict(parameters, spec.parameters)
    return service.jobs.CreateJob(v1.CreateJobRequest(spec=spec)).job.job_id


def seen_whole(store):
    """Every version that shows can be fetched, its hashes checked."""
    for version in wait(store.list_versions()):
        wait(store.fetch(version))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("database_url", "kills"),
    [
        ("sqlite", 4),
        ("postgresql", 4),
        ("sqlite", 50),
        ("postgresql", 50),
    ],
    indirect=["database_url"],
)
def test_every_job_ends_right_whoever_is_killed(database_url, tmp_path, kills):
    variables = {
        "PEQUOD_DATABASE_URL": database_url,
        "PEQUOD_FINETUNE_JOBS": "2",
        "PEQUOD_FINETUNE_JOB_THREADS": "1",
        "PEQUOD_FINETUNE_NICE": "0",
    }
    service, dice = Service(tmp_path, **variables), random.Random(11)
    service.start()
    (tmp_path / "none").mkdir()
    store = open_store(tmp_path / "none", str(tmp_path / "var/models"), tmp_path / "cache")
    try:
        files = {"book.txt": book(1), "more.txt": book(2)}
        start, data = start_of(files), b"".join(files.values())
        dataset = service.stub.UploadDataset(requests_of(start, data)).dataset
        jobs = [create(service, dataset.dataset_id, name) for name in SPECS for _ in range(1 + kills // 20)]
        for number in range(kills):
            time.sleep(dice.uniform(0.5, 5.0))
            seen_whole(store)
            # The first is a worker, before anybody is far.
            kill = kill_worker if not number else dice.choice([kill_service, kill_worker, kill_connections])
            kill(service, database_url, dice)
        found = {}
        deadline = time.monotonic() + 300
        while len(found) < len(jobs):
            assert time.monotonic() < deadline, [state_of(service, each) for each in jobs]
            time.sleep(0.3)
            known = [state_of(service, each) for each in jobs if each not in found]
            found |= {job.job_id: job for job in known if job is not None and job.state in ENDED}
        for job_id, job in found.items():
            # Whoever is killed that often before a new step is done is taken for a killer itself.
            is_crashed = job.error.reason == "CRASHED" and kills > MOST_VAIN
            assert job.state == v1.JOB_STATE_SUCCEEDED or is_crashed, job.error
            *told, _ = service.jobs.WatchJob(v1.WatchJobRequest(job_id=job_id))
            assert [each.number for each in told] == list(range(1, job.last_event + 1))
            published = [each.published.model for each in told if each.WhichOneof("event") == "published"]
            assert published == ([job.model] if job.model else [])
        versions = sorted(str(each) for each in wait(store.list_versions()))
        assert versions == sorted(job.model for job in found.values() if job.model)
        seen_whole(store)
    finally:
        service.end()
