"""Measures the orchestration of jobs; run as ``python -m tests.bench.bench_finetune``.

Seconds from a job's creation to its first step; a step of a training inside a job beside the same alone; how
fast jobs are listed, looked at and followed while the database holds 10 000 finished ones.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import insert

from pequod.finetune import v1
from services.common.database.clock import now
from services.finetune.database.schema import JOB_EVENTS, JOBS
from services.finetune.jobs.job import Spec, new_job_id
from services.finetune.jobs.records import fresh
from services.finetune.jobs.states import State
from services.finetune.orchestrator.settings import JobSettings
from tests.bench.finetune.steps import Step, WorkerClock, alone
from tests.bench.report import Report
from tests.unit.finetune.job_parts import TENANT, TINY_LM, book, events, lm_spec, reached
from tests.unit.finetune.parts import running, upload

_JOBS, _EVENTS = 10_000, 20
_NICE = 10
_LM = {**TINY_LM, "width": 128, "hidden": 256, "layers": 4, "window": 128, "batch": 4}
"""Steps of some 50 ms on a core."""


def fill(process) -> str:
    """10 000 finished jobs, each with its events; returns the id of one."""
    spec, ids = Spec(recipe="ngram", name="mine"), [new_job_id() for _ in range(_JOBS)]

    told = {"step": 1, "steps": 9, "values": {"loss": 1.0}, "remaining_seconds": 0.0}
    ended = {"state": State.SUCCEEDED.value, "last_event": _EVENTS}
    line = {"tenant": TENANT, "kind": "metrics", "data": told}

    def add(job_id, connection):
        row = {**fresh(TENANT, job_id, spec, "", ""), **ended}
        connection.execute(insert(JOBS).values(**row, created_at=now()))
        lines = [{**line, "job_id": job_id, "number": n, "happened_at": now()} for n in range(1, _EVENTS + 1)]
        connection.execute(insert(JOB_EVENTS).values(lines))

    for start in range(0, _JOBS, 100):
        some = ids[start : start + 100]
        process.database.write(lambda connection, some=some: [add(each, connection) for each in some])
    return ids[_JOBS // 2]


async def timed(call: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Median milliseconds of a call."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        found.append(time.perf_counter() - began)
    return statistics.median(found) * 1e3


async def bench_calls(stub, process, rounds: int, report: Report) -> None:
    """Every call while there are many jobs."""
    job_id = await asyncio.to_thread(fill, process)

    async def watch():
        async for _ in stub.WatchJob(v1.WatchJobRequest(job_id=job_id)):
            pass

    calls = {
        "ListJobs, 100 of them": lambda: stub.ListJobs(v1.ListJobsRequest()),
        "ListJobs, of one state": lambda: stub.ListJobs(v1.ListJobsRequest(states=[v1.JOB_STATE_RUNNING])),
        "GetJob": lambda: stub.GetJob(v1.GetJobRequest(job_id=job_id)),
        f"WatchJob, {_EVENTS} events": watch,
    }
    for name, call in calls.items():
        report.most(f"{name}, ms with {_JOBS} finished jobs", await timed(call, rounds), 50)


async def bench_job(stub, process, steps: int, report: Report) -> None:
    """A job's start, and its steps between two trainings of the recipe alone."""
    data = book(1, words=2000)
    dataset = await upload(stub, {"book.txt": data})
    before = await lonely(data, steps)
    records, began = process.jobs.records, time.perf_counter()
    job, _ = records.create(TENANT, lm_spec(dataset.dataset_id, steps, parameters=_LM))
    clock = WorkerClock(job.job_id)
    following = asyncio.create_task(clock.follow())
    process.jobs.orchestrator.wake()
    while (await reached(records, job.job_id, State.RUNNING, seconds=600)).step < 1:
        await asyncio.sleep(0.05)
    report.most("seconds from create to the first step", time.perf_counter() - began, 5)
    await reached(records, job.job_id, seconds=600)
    await following
    told = [each for each in events(records, job.job_id) if each.kind.value == "metrics"]
    first, last = told[0], told[-1]
    count = last.data["step"] - first.data["step"]
    wall = (last.time - first.time).total_seconds() / count * 1e3
    cpu = clock.between(first.time.timestamp(), last.time.timestamp()) / count * 1e3
    after = await lonely(data, steps)
    mean = Step((before.wall + after.wall) / 2, (before.cpu + after.cpu) / 2)
    report.say(f"- a step inside a job: {wall:.1f} ms, of the CPU {cpu:.1f} ms")
    report.say(f"- the same alone, before and after: {before.wall:.1f} and {after.wall:.1f} ms, of the CPU")
    report.say(f"  {before.cpu:.1f} and {after.cpu:.1f} ms; one priority, one thread")
    report.most("CPU time of a step inside a job, times that alone", cpu / mean.cpu, 1.03)
    report.most("a step inside a job, times the step alone", wall / mean.wall, 1.03)


async def lonely(data: bytes, steps: int) -> Step:
    """A step of the same training in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return await asyncio.to_thread(alone, data, steps, _LM, _NICE, Path(folder) / "alone")


async def bench(steps: int, rounds: int, report: Report) -> None:
    """All of it, on SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        settings, path = JobSettings(job_threads=1, nice=_NICE), Path(folder)
        async with running(f"sqlite:///{folder}/f.db", path, settings) as (stub, process):
            await bench_job(stub, process, steps, report)
            await bench_calls(v1.FineTuneServiceStub(stub.channel), process, rounds, report)


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--quick", action="store_true", help="a glance while developing; figures mean little"
    )
    chosen = options.parse_args()
    report = Report()
    asyncio.run(bench(40 if chosen.quick else 600, 5 if chosen.quick else 51, report))
    report.summary()


if __name__ == "__main__":
    main()
