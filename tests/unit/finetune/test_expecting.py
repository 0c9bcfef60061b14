"""What a job is expected to take: by jobs like it, then by its own first steps, then as it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.finetune.jobs.claims import Claims, Report
from services.finetune.jobs.job import Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import State
from services.finetune.orchestrator.expecting import Expectation
from services.finetune.orchestrator.settings import JobSettings
from tests.unit.finetune.job_parts import TENANT, book, lm_spec, reached
from tests.unit.finetune.parts import running, upload

SPEC = Spec(
    recipe="dreambooth", base="b:1", parameters={"rank": 4, "instance_prompt": "one"}, steps=100, name="n"
)
TOOK = {
    "duration_seconds": 50.0,
    "step_seconds": 0.5,
    "prepare_seconds": 3.0,
    "memory_bytes": 7,
    "steps": 100,
}


@pytest.fixture
def records(database):
    """With one job that has ended well."""
    records, claims = JobRecords(database), Claims(database, "one")
    records.create(TENANT, SPEC)
    claims.report(claims.unchecked(), Report(state=State.QUEUED))
    claim = claims.next("local", 0)
    for state in (State.RUNNING, State.EVALUATING, State.SUCCEEDED):
        claims.report(claim, Report(state=state, values={"forecast": TOOK}))
    return records


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"steps": 200}, 100.0),
        ({"parameters": {"rank": 4, "instance_prompt": "another"}}, 50.0),
        ({"seed": 9, "name": "other"}, 50.0),
        ({"parameters": {"rank": 8, "instance_prompt": "one"}}, None),
        ({"base": "b:2"}, None),
        ({"recipe": "train_gan"}, None),
    ],
)
def test_jobs_alike_take_alike(records, fields, seconds):
    found = Expectation(records, 1).of(TENANT, replace(SPEC, **fields))
    assert (found or {}).get("duration_seconds") == seconds
    if found:
        assert (found["timed_steps"], found["step_seconds"], found["queue_seconds"]) == (0, 0.5, 0.0)


def test_other_tenants_jobs_tell_nothing(records):
    assert Expectation(records, 1).of("other", SPEC) is None


async def test_a_job_says_what_it_takes(tmp_path):
    async with running(f"sqlite:///{tmp_path}/f.db", tmp_path, JobSettings(nice=0, job_threads=1)) as (
        stub,
        process,
    ):
        dataset = await upload(stub, {"book.txt": book(1)})
        records = process.jobs.records

        async def run(spec):
            job, _ = await asyncio.to_thread(records.create, TENANT, spec)
            process.jobs.orchestrator.wake()
            queued = await reached(records, job.job_id, State.PREPARING)
            return queued, await reached(records, job.job_id)

        first, ended = await run(lm_spec(dataset.dataset_id))
        assert first.forecast is None, "nothing was known"
        took = ended.forecast
        assert (took["steps"], took["timed_steps"]) == (20, 5)
        assert 0 < took["step_seconds"] < took["duration_seconds"]
        assert took["memory_bytes"] > 50 * 2**20
        assert took["disk_bytes"] > 0
        second, _ = await run(lm_spec(dataset.dataset_id, steps=40, seed=2))
        assert (second.forecast["steps"], second.forecast["timed_steps"]) == (40, 0)
        assert second.forecast["duration_seconds"] == pytest.approx(2 * took["duration_seconds"], abs=0.01)
        counted = Spec(recipe="ngram", dataset_id=dataset.dataset_id, parameters={"order": 2}, name="mine")
        _, ended = await run(counted)
        assert ended.forecast["duration_seconds"] > 0
