"""What the service says that it holds: data sets, jobs' files, memory of jobs at work."""

import asyncio

import grpc
import pytest

from pequod.model import v1 as pb
from services.finetune.jobs.job import Spec
from services.finetune.jobs.states import State
from services.finetune.orchestrator.executors.children import resident_bytes
from services.finetune.orchestrator.settings import JobSettings
from tests.unit.finetune.job_parts import TENANT, book, lm_spec, reached
from tests.unit.finetune.parts import running, upload


async def test_what_is_held_is_told_beside_what_may_be(tmp_path):
    settings = JobSettings(nice=0, jobs=1, job_threads=1)
    url = f"sqlite:///{tmp_path}/f.db"
    async with running(url, tmp_path, settings, quota_bytes=10**9) as (stub, process):
        dataset = await upload(stub, {"one.txt": book(0)})
        records = process.jobs.records
        counted, _ = records.create(
            TENANT, Spec(recipe="ngram", dataset_id=dataset.dataset_id, parameters={"order": 2}, name="mine")
        )
        process.jobs.orchestrator.wake()
        assert (await reached(records, counted.job_id)).state is State.SUCCEEDED
        await nothing_runs(process)
        models = pb.ModelServiceStub(stub.channel)
        reply = await models.ListModels(pb.ListModelsRequest(resources=True))
        (held,) = reply.resources.services
        disks = {each.name: each for each in held.disks}
        candidates = tmp_path / "work/jobs" / TENANT / counted.job_id / "work/candidates"
        checkpoints = sum(file.stat().st_size for file in candidates.rglob("*") if file.is_file())
        assert not reply.models
        assert (held.service, held.memory_bytes, held.memory_budget_bytes) == ("finetune", 0, 0)
        assert set(disks) == {"cache", "checkpoints", "datasets", "store", "work"}
        assert disks["checkpoints"].used_bytes == checkpoints > 0
        assert disks["work"].used_bytes > checkpoints
        assert (disks["datasets"].used_bytes, disks["datasets"].limit_bytes) == (len(book(0)), 10**9)

        long, _ = records.create(TENANT, lm_spec(dataset.dataset_id, steps=100_000))
        process.jobs.orchestrator.wake()
        await reached(records, long.job_id, State.RUNNING)
        (held,) = (await models.ListModels(pb.ListModelsRequest(resources=True))).resources.services
        assert held.memory_bytes > 20 * 2**20, "a Python process with torch"
        records.cancel(TENANT, long.job_id)
        await reached(records, long.job_id)
        await nothing_runs(process)


async def nothing_runs(process):
    """Return once the worker of a job that has ended is gone."""
    async with asyncio.timeout(30):
        while process.jobs.memory_bytes():
            await asyncio.sleep(0.05)


async def test_nothing_more_is_told_than_is_asked_for(tmp_path):
    async with running(f"sqlite:///{tmp_path}/f.db", tmp_path, datasets="s3://bucket/data") as (stub, _):
        models = pb.ModelServiceStub(stub.channel)
        assert not (await models.ListModels(pb.ListModelsRequest())).HasField("resources")
        (held,) = (await models.ListModels(pb.ListModelsRequest(resources=True))).resources.services
        assert "datasets" not in {each.name for each in held.disks}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await models.LoadModel(pb.LoadModelRequest(model="storyteller"))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_process_that_is_gone_holds_nothing():
    assert resident_bytes(2**30) == 0
