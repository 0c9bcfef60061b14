"""Jobs run in worker processes, from a data set to a served version."""

from __future__ import annotations

import json

import pytest

from services.finetune.jobs.job import Kind, Spec
from services.finetune.jobs.states import State
from services.finetune.orchestrator.settings import JobSettings
from tests.unit.finetune.job_parts import TENANT, book, events, lm_spec, reached, walk
from tests.unit.finetune.parts import running, upload

WALK = ["validating", "queued", "preparing", "running", "evaluating", "succeeded"]


@pytest.fixture
async def platform(tmp_path):
    async with running(
        f"sqlite:///{tmp_path}/f.db", tmp_path, JobSettings(nice=0, jobs=2, job_threads=1)
    ) as started:
        yield started


async def test_a_job_ends_with_a_published_version(platform, tmp_path):
    stub, process = platform
    dataset = await upload(stub, {"a/book.txt": book(), "more.jsonl": b'{"text": "the sea"}\n'})
    jobs = process.jobs
    spec = Spec(recipe="ngram", dataset_id=dataset.dataset_id, parameters={"order": 2}, name="mine")
    job, _ = jobs.records.create(TENANT, spec)
    jobs.orchestrator.wake()
    ended = await reached(jobs.records, job.job_id)
    assert (ended.state, ended.error) == (State.SUCCEEDED, None)
    assert walk(jobs.records, job.job_id) == WALK
    assert (ended.model, ended.promoted_checkpoint_id) == ("mine:1", f"{job.job_id}-1")
    assert ended.best_checkpoint_id == ended.promoted_checkpoint_id
    assert ended.dataset_digest == dataset.digest
    version = await process.store.resolve("mine@production")
    manifest = version.manifest
    assert (manifest.recipe, manifest.version, manifest.tenant) == ("ngram", "1", TENANT)
    assert dataset.dataset_id in manifest.training_data
    assert dataset.digest in manifest.training_data
    lineage = manifest.config["lineage"]
    assert (lineage["job"], lineage["dataset_digest"]) == (job.job_id, dataset.digest)
    (published,) = [each.data for each in events(jobs.records, job.job_id) if each.kind is Kind.PUBLISHED]
    assert published["model"] == "mine:1"
    assert json.loads((tmp_path / "models/mine/1/model.json").read_text())["name"] == "mine"


async def test_a_training_tells_its_steps(platform):
    stub, process = platform
    dataset = await upload(stub, {"one.txt": book(1), "two.txt": book(2)})
    records = process.jobs.records
    job, _ = records.create(TENANT, lm_spec(dataset.dataset_id))
    process.jobs.orchestrator.wake()
    ended = await reached(records, job.job_id)
    assert (ended.state, ended.error) == (State.SUCCEEDED, None)
    assert ended.step == 20
    assert ended.metrics["loss"] > 0
    told = [each.data for each in events(records, job.job_id) if each.kind is Kind.METRICS]
    assert told[-1]["step"] == told[-1]["steps"] == 20
    assert (await process.store.resolve("tiny")).manifest.family == "llama"
