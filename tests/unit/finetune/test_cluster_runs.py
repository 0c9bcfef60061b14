"""Jobs on a cluster, through the real client of its API, from a data set to a served version."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
import torch

from services.finetune.jobs.job import Kind, Resources
from services.finetune.jobs.states import State
from services.finetune.orchestrator import tending
from tests.unit import postgres
from tests.unit.finetune.cluster_parts import cluster_at, created, lines, stepping, told, training, until
from tests.unit.finetune.job_parts import TENANT, reached, walk

WALK = ["validating", "queued", "preparing", "running", "evaluating", "succeeded"]


@pytest.fixture
def cluster(postgres_server, tmp_path, monkeypatch):
    with postgres.database(postgres_server) as url, cluster_at(tmp_path, url, monkeypatch) as made:
        yield made


async def test_a_job_ends_with_a_published_version(cluster):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error, ended.model) == (State.SUCCEEDED, None, "mine:1")
        assert walk(process.jobs.records, job_id) == WALK
        version = await process.store.resolve("mine@production")
        assert version.manifest.config["lineage"]["job"] == job_id
        cluster.state.check()
        assert cluster.jobs() == [f"{job_id}-2"], "it stays for a while"
        metrics = process.jobs.orchestrator._tenders[1]._metrics.jobs_ended
        async with asyncio.timeout(20):
            while metrics.labels("ngram", "succeeded")._value.get() != 1:
                await asyncio.sleep(0.05)


async def test_a_job_waits_in_a_queue_of_kueue(cluster):
    async with cluster.service(replace(cluster.settings, queue="team")) as (stub, process):
        job_id = await created(stub, process)
        waiting = await until(process, job_id, lambda job: job.progress is not None)
        assert (waiting.state, waiting.attempts) == (State.PREPARING, 1)
        assert "its Job is suspended" in waiting.progress.message
        with cluster.state.lock:
            cluster.state.objects["jobs"][f"{job_id}-2"]["spec"]["suspend"] = False
        assert (await reached(process.jobs.records, job_id)).state is State.SUCCEEDED
        assert lines(process, job_id)[0] == f"runs as {job_id}-2"
        assert sum("suspended" in each for each in lines(process, job_id)) == 1, "said once"


@pytest.mark.parametrize(
    ("wish", "end"),
    [("cancel", State.CANCELLED), pytest.param("pause", State.PAUSED, marks=pytest.mark.slow)],
)
async def test_a_run_that_waits_for_a_node_can_be_stopped(cluster, wish, end):
    cluster.node.is_full = True
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        waiting = await until(process, job_id, lambda job: job.progress is not None)
        assert waiting.progress.message.startswith("waits for a node: Unschedulable: 0/1 nodes")
        await asyncio.to_thread(getattr(process.jobs.records, wish), TENANT, job_id)
        await until(process, job_id, lambda job: job.state is end)
        async with asyncio.timeout(20):
            while cluster.jobs():
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_pause_keeps_what_was_learnt(cluster):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process, training())
        await stepping(process, job_id)
        await asyncio.to_thread(process.jobs.records.pause, TENANT, job_id)
        paused = await until(process, job_id, lambda job: job.state is State.PAUSED)
        await asyncio.to_thread(process.jobs.records.resume, TENANT, job_id)
        process.jobs.orchestrator.wake()
        again = await until(
            process, job_id, lambda job: job.state is State.RUNNING and job.step > paused.step
        )
        assert again.attempts == 2
        steps = [each.data["step"] for each in told(process, job_id) if each.kind is Kind.METRICS]
        assert steps == sorted(steps), "it went on where it was"


async def test_a_launch_may_be_asked_for_twice(cluster):
    async with cluster.service() as (stub, process):
        await process.jobs.orchestrator.close()
        job_id = await created(stub, process)
        tender = process.jobs.orchestrator._tenders[1]
        await asyncio.to_thread(process.jobs.orchestrator._validator.look)
        claim = tender._claims.next("kubernetes", 0)
        handles = [await tender._executor.launch(claim) for _ in range(3)]
        assert handles == [f"{job_id}-2"] * 3
        assert [code for method, _, code in cluster.state.requests if method == "POST"] == [201, 409, 409]
        (run,) = await tender._executor.poll()
        assert (run.job_id, run.epoch, run.owner, run.tenant) == (job_id, 2, claim.owner, TENANT)


async def test_who_comes_after_a_crash_finds_what_was_launched(cluster):
    """Claimed and launched, and then the process is gone before it could note anything."""
    cluster.node.is_full = True
    async with cluster.service() as (stub, process):
        await process.jobs.orchestrator.close()
        job_id = await created(stub, process)
        await asyncio.to_thread(process.jobs.orchestrator._validator.look)
        tender = process.jobs.orchestrator._tenders[1]
        await tender._executor.launch(tender._claims.next("kubernetes", 0))
    async with cluster.service() as (_, after):
        await until(after, job_id, lambda job: job.progress is not None)
        cluster.node.is_full = False
        ended = await reached(after.jobs.records, job_id)
        assert (ended.state, ended.attempts) == (State.SUCCEEDED, 1)
        assert lines(after, job_id)[0] == f"runs as {job_id}-2"
    assert cluster.made() == 1


async def test_a_launch_whose_answer_is_lost_leaves_one_run(cluster, monkeypatch):
    monkeypatch.setattr(tending, "_PAUSE", 0.1)
    cluster.state.answers_lost = 1
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process)
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.attempts) == (State.SUCCEEDED, 2)
        # The first one was made all the same: it is stopped, or its worker leaves, for it has no claim.
        async with asyncio.timeout(30):
            while not cluster.is_over(f"{job_id}-2"):
                await asyncio.sleep(0.05)
        assert sum(each.kind is Kind.PUBLISHED for each in told(process, job_id)) == 1
        assert walk(process.jobs.records, job_id)[1:4] == ["queued", "preparing", "queued"]


@pytest.mark.slow
async def test_two_services_share_a_cluster(cluster):
    async with contextlib.AsyncExitStack() as stack:
        both = [await stack.enter_async_context(cluster.service()) for _ in range(2)]
        ids = [await created(*both[number % 2]) for number in range(4)]
        records = both[0][1].jobs.records
        ended = [await reached(records, each, seconds=110) for each in ids]
        assert [(each.state, each.attempts) for each in ended] == [(State.SUCCEEDED, 1)] * 4
        assert sorted(each.model for each in ended) == [f"mine:{n}" for n in (1, 2, 3, 4)]
    assert cluster.made() == 4


def team(steps):
    """Of two processes, as torchrun starts them."""
    return replace(training(steps), resources=Resources(2, "nvidia.com/gpu"))


async def test_a_team_trains_one_model(cluster):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process, team(20))
        ended = await reached(process.jobs.records, job_id)
        assert (ended.state, ended.error, ended.model) == (State.SUCCEEDED, None, "tiny:1")
        assert walk(process.jobs.records, job_id) == WALK, "one of them speaks"
        (command,) = (each["command"] for each in cluster.containers())
        assert command[0] == "torchrun"


@pytest.mark.slow
async def test_a_team_stops_together_and_keeps_what_it_learnt(cluster):
    async with cluster.service() as (stub, process):
        job_id = await created(stub, process, team(100_000))
        await stepping(process, job_id)
        (agent,) = cluster.node.processes.values()
        await asyncio.to_thread(process.jobs.records.pause, TENANT, job_id)
        paused = await until(process, job_id, lambda job: job.state is State.PAUSED)
        assert await asyncio.to_thread(agent.wait, 60) == 0, "nobody waits for the others for ever"
        (saved,) = (cluster.folder / "node/volumes/work").rglob("checkpoint.pt")
        assert torch.load(saved, weights_only=True)["step"] >= paused.step > 0
