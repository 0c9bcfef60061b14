"""What a cluster does to a run, and what becomes of its job: told in its events, and tried again or not."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from services.finetune.jobs.claims import Claims
from services.finetune.jobs.job import Kind
from services.finetune.jobs.states import State
from services.finetune.orchestrator import tending
from services.finetune.orchestrator.executors.cluster import executor
from tests.unit import postgres
from tests.unit.finetune.cluster_parts import cluster_at, created, lines, stepping, told, training, until
from tests.unit.finetune.job_parts import TENANT, reached


@pytest.fixture
def cluster(postgres_server, tmp_path, monkeypatch):
    with postgres.database(postgres_server) as url, cluster_at(tmp_path, url, monkeypatch) as made:
        yield made


async def gone(cluster, name):
    """Until there is no such Job."""
    async with asyncio.timeout(30):
        while name in cluster.jobs():
            await asyncio.sleep(0.05)


async def test_too_little_memory_ends_a_job(cluster):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process, training())
        await stepping(process, job_id)
        cluster.node.out_of_memory(cluster.pod())
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error.reason) == (State.FAILED, "OUT_OF_MEMORY")
        assert f"its limit of {8 * 2**30} bytes" in ended.error.message
        assert "resources.memory_bytes" in ended.error.message
        cluster.state.check()


async def test_an_image_that_is_nowhere_ends_a_job_after_a_while(cluster, monkeypatch):
    monkeypatch.setattr(executor, "STUCK_SECONDS", 3.0)
    cluster.node.trouble = "ImagePullBackOff"
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        waiting = await until(process, job_id, lambda job: job.progress is not None)
        assert "does not start yet: ImagePullBackOff" in waiting.progress.message
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error.reason) == (State.FAILED, "IMAGE_UNAVAILABLE")
        assert "ImagePullBackOff of pequod:test, for 3 s" in ended.error.message
        await gone(cluster, f"{job_id}-2")
        cluster.state.check()


@pytest.mark.slow
async def test_a_registry_that_comes_back_is_waited_for(cluster):
    cluster.node.trouble = "ErrImagePull"
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        await until(process, job_id, lambda job: job.progress is not None)
        cluster.node.trouble = ""
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.attempts) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize(
    ("reason", "says", "counts"),
    [
        ("PreemptionByScheduler", "its Pod had to leave", 0),
        pytest.param(
            *("TerminationByKubelet", "its node evicted it: Evicted: low on memory", 1),
            marks=pytest.mark.slow,
        ),
    ],
)
async def test_a_run_that_has_to_leave_goes_on_from_its_checkpoint(cluster, reason, says, counts):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process, training())
        first = await until(process, job_id, lambda job: job.step > 40)  # past a checkpoint
        cluster.node.displace(cluster.pod(), reason, "low on memory")
        again = await until(
            process,
            job_id,
            lambda job: job.attempts == 2 and job.state is State.RUNNING and job.step > first.step,
        )
        assert again.error is None
        said = lines(process, job_id) if counts else [str(each.data) for each in told(process, job_id)]
        assert sum(says in each for each in said) == 1, said
        steps = [each.data["step"] for each in told(process, job_id) if each.kind is Kind.METRICS]
        assert steps.count(1) == 1, "the second attempt did not begin anew"
        cluster.state.check()


async def test_an_api_that_is_away_costs_no_job(cluster):
    async with cluster.service() as (stub, process):
        first = await created(stub, process)
        await until(process, first, lambda job: job.state is State.PREPARING and cluster.jobs())
        cluster.state.is_away = True
        second = await created(stub, process)
        ended = await reached(process.jobs.records, first)
        assert ended.state is State.SUCCEEDED, "its worker speaks to the database alone"
        waiting = await asyncio.to_thread(process.jobs.records.get, TENANT, second)
        assert (waiting.state, waiting.attempts) == (State.QUEUED, 0)
        cluster.state.is_away = False
        ended = await reached(process.jobs.records, second)
        assert (ended.state, ended.attempts) == (State.SUCCEEDED, 1)


@pytest.mark.slow
async def test_a_launch_that_is_forbidden_for_now_waits(cluster, monkeypatch):
    monkeypatch.setattr(tending, "_PAUSE", 0.5)
    cluster.state.quota = 0
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        waiting = await until(process, job_id, lambda job: job.error is not None)
        assert waiting.error.reason == "CLUSTER_UNREACHABLE"
        assert "exceeded quota" in waiting.error.message
        cluster.state.quota = None
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error) == (State.SUCCEEDED, None)


@pytest.mark.slow
async def test_a_frozen_worker_is_stopped_after_its_grace_and_another_goes_on(cluster, monkeypatch):
    """It does not hear of the stop: Kubernetes kills it."""
    monkeypatch.setattr(tending, "GRACE", 1.0)
    monkeypatch.setattr(tending, "LEAVES_WITHIN", 1.0)
    async with cluster.service(replace(cluster.settings, claim="")) as (stub, process):
        job_id = await created(stub, process, training())
        await stepping(process, job_id)
        frozen, job = cluster.node.processes[cluster.pod()], cluster.state.objects["jobs"][f"{job_id}-2"]
        os.kill(frozen.pid, signal.SIGSTOP)
        claims = Claims(process.database, job["metadata"]["annotations"]["pequod.io/owner"])
        held = await asyncio.to_thread(claims.held, TENANT, job_id, claims.owner, 2)
        await asyncio.to_thread(claims.abandon, held.claim)  # as if its lease had run out
        await until(process, job_id, lambda job: job.attempts == 2 and job.state is State.RUNNING)
        await gone(cluster, f"{job_id}-2")
        assert await asyncio.to_thread(frozen.wait, 20) == -signal.SIGKILL
        told(process, job_id)


async def test_a_worker_that_cannot_start_is_not_started_for_ever(cluster):
    cluster.node.secrets["pequod-finetune"]["PEQUOD_DATABASE_URL"] = "mysql://nowhere"
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error.reason, ended.attempts) == (State.FAILED, "CRASHED", 5)
        assert sum("ended with exit code" in each for each in lines(process, job_id)) == 5
        assert "mysql" not in str([each.data for each in told(process, job_id)])
