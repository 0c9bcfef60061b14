"""Who lost a job hears of it: frozen workers that wake, services of one database that are killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time

import psutil
import pytest

from pequod.finetune import v1
from services.finetune.jobs.claims import Claims
from services.finetune.jobs.job import Kind
from services.finetune.jobs.states import State
from services.finetune.orchestrator import tending
from services.finetune.orchestrator.settings import JobSettings
from tests.unit import postgres
from tests.unit.finetune.job_parts import TENANT, book, events, lm_spec, reached, walk
from tests.unit.finetune.parts import requests_of, running, start_of, upload
from tests.unit.finetune.test_chaos import ENDED, create
from tests.unit.finetune.test_kill import Service

ONE = JobSettings(jobs=1, nice=0, job_threads=1)


def worker_of(pid: int, job_id: str) -> psutil.Process | None:
    """The child of ``pid`` that works on a job."""
    for each in psutil.Process(pid).children():
        if job_id in each.cmdline():
            return each
    return None


@pytest.mark.slow
async def test_a_worker_that_was_frozen_writes_nothing_more(database_url, tmp_path, monkeypatch):
    """On two machines: the other one has a folder of its own, so nobody kills the frozen one."""
    monkeypatch.setattr(tending, "LEAVES_WITHIN", 1000.0)  # its own service does not either
    (tmp_path / "other").mkdir()
    shared = {"store": str(tmp_path / "models"), "datasets": str(tmp_path / "datasets")}
    async with running(database_url, tmp_path, ONE, **shared) as (stub, first):
        records = first.jobs.records
        dataset = await upload(stub, {"book.txt": book(1)})
        job, _ = await asyncio.to_thread(records.create, TENANT, lm_spec(dataset.dataset_id, 600))
        first.jobs.orchestrator.wake()
        job_id = job.job_id
        while (await reached(records, job_id, State.RUNNING)).step < 1:
            await asyncio.sleep(0.02)
        frozen = worker_of(os.getpid(), job_id)
        frozen.suspend()
        owner = frozen.cmdline()[frozen.cmdline().index("--owner") + 1]
        claims = Claims(first.database, owner)
        await asyncio.to_thread(
            claims.abandon, claims.held(TENANT, job_id, owner, 2).claim
        )  # the lease runs out
        async with running(database_url, tmp_path / "other", ONE, **shared):
            while (await asyncio.to_thread(records.get, TENANT, job_id)).attempts < 2:
                await asyncio.sleep(0.02)
            await reached(records, job_id, State.RUNNING)
            frozen.resume()
            async with asyncio.timeout(20):
                while frozen.is_running() and frozen.status() != psutil.STATUS_ZOMBIE:
                    await asyncio.sleep(0.05)
            still = await asyncio.to_thread(records.get, TENANT, job_id)
            assert still.state not in (State.SUCCEEDED, State.FAILED), "the fence came first"
            ended = await reached(records, job_id, seconds=110)
            found = await asyncio.to_thread(events, records, job_id)
            states = await asyncio.to_thread(walk, records, job_id)
    log = tmp_path / "work/jobs" / TENANT / job_id / "log.txt"
    assert f"job {job_id} is no longer {owner}'s" in log.read_text()
    assert (ended.state, ended.error, ended.attempts, ended.model) == (State.SUCCEEDED, None, 2, "tiny:1")
    assert sum(each.kind is Kind.PUBLISHED for each in found) == 1
    assert states[-6:] == ["preparing", "running", "preparing", "running", "evaluating", "succeeded"]


def each_at_work(services, jobs, deadline):
    """By job: the service that has it, and its worker."""
    found = {}
    while len(found) < len(jobs):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        for job_id, service in itertools.product(jobs, services):
            if (worker := worker_of(service.pid, job_id)) is not None:
                found[job_id] = service, worker
    return found


def ended(service, job_id, deadline):
    """The job, and all that was told of it, whose numbers have no gap and no double."""
    while True:
        assert time.monotonic() < deadline
        job = service.jobs.GetJob(v1.GetJobRequest(job_id=job_id)).job
        if job.state in ENDED:
            break
        time.sleep(0.3)
    *told, _ = service.jobs.WatchJob(v1.WatchJobRequest(job_id=job_id))
    assert [each.number for each in told] == list(range(1, job.last_event + 1))
    return job, told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_jobs_of_a_service_that_is_killed_move_on_to_another(postgres_server, tmp_path):
    """Service and worker die at once, so that only the lease tells of it."""
    settings = {"PEQUOD_FINETUNE_JOB_THREADS": "1", "PEQUOD_FINETUNE_NICE": "0"}
    deadline = time.monotonic() + 240
    with postgres.database(postgres_server) as url:
        services = [Service(tmp_path, **settings, PEQUOD_DATABASE_URL=url) for _ in range(2)]
        for each in services:
            each.start()
        one, other = services
        try:
            files = {"book.txt": book(1)}
            dataset = one.stub.UploadDataset(requests_of(start_of(files), files["book.txt"])).dataset
            jobs = [create(one, dataset.dataset_id, name) for name in ("trained", "again")]
            at_work = each_at_work(services, jobs, deadline)
            lost, kept = sorted(jobs, key=lambda job_id: at_work[job_id][0] is not one)
            assert [at_work[each][0] for each in (lost, kept)] == services, "each has one of the two"
            at_work[lost][1].send_signal(signal.SIGKILL)
            one.end()
            for job_id, attempts in ((kept, 1), (lost, 2)):
                job, told = ended(other, job_id, deadline)
                assert (job.state, job.attempts) == (v1.JOB_STATE_SUCCEEDED, attempts), job.error
                assert sum(each.HasField("published") for each in told) == 1
        finally:
            other.end()
