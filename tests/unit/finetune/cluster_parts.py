"""A cluster with everything a job on it needs: API, node, PostgreSQL, an object store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pequod.finetune import v1
from services.finetune.__main__ import FinetuneProcess
from services.finetune.jobs.job import Event, Executor, Job, Kind, Spec
from services.finetune.jobs.states import State as JobState
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.orchestrator.settings import JobSettings
from tests.unit.finetune.cluster_node import Node, running_node
from tests.unit.finetune.cluster_server import State, serving_api
from tests.unit.finetune.job_parts import TENANT, book, events, lm_spec
from tests.unit.finetune.object_store import BUCKET, KEYS, serving_s3
from tests.unit.finetune.parts import running, upload

STORE = f"s3://{BUCKET}/models"
_SECONDS = 90.0


@dataclass(frozen=True)
class Cluster:
    """Where it is, and what may be done to it."""

    state: State
    node: Node
    settings: ClusterSettings
    url: str
    folder: Path

    @contextlib.asynccontextmanager
    async def service(
        self, settings: ClusterSettings | None = None
    ) -> AsyncIterator[tuple[v1.DatasetServiceStub, FinetuneProcess]]:
        """A service that makes its Jobs there."""
        chosen, own = settings or self.settings, JobSettings(jobs=0, nice=0)
        sets = f"s3://{BUCKET}/sets"
        async with running(self.url, self.folder, own, chosen, STORE, datasets=sets) as started:
            yield started

    def jobs(self) -> list[str]:
        """Names of the Jobs that there are."""
        with self.state.lock:
            return list(self.state.objects["jobs"])

    def is_over(self, name: str) -> bool:
        """Whether a Job is gone, or has ended."""
        with self.state.lock:
            job = self.state.objects["jobs"].get(name)
            return job is None or bool(job["status"].get("conditions"))

    def containers(self) -> list[dict]:
        """Of all Jobs."""
        with self.state.lock:
            jobs = self.state.objects["jobs"].values()
            return [each for job in jobs for each in job["spec"]["template"]["spec"]["containers"]]

    def pod(self) -> str:
        """Name of the newest one that runs."""
        with self.state.lock:
            pods = self.state.objects["pods"].values()
            return [each["metadata"]["name"] for each in pods if each["status"]["phase"] == "Running"][-1]

    def made(self) -> int:
        """Jobs that were created."""
        return sum(method == "POST" and code == 201 for method, _, code in self.state.requests)


@contextlib.contextmanager
def cluster_at(folder: Path, url: str, patch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """On the database at ``url``."""
    secrets = {"pequod-finetune": {"PEQUOD_DATABASE_URL": url, **dict.fromkeys(KEYS, "testing")}}
    (folder / "node").mkdir()
    with (
        serving_s3(patch),
        serving_api(folder) as (state, config),
        running_node(state, folder / "node", secrets) as node,
    ):
        settings = ClusterSettings(image="pequod:test", kubeconfig=str(config), claim="work", cpu_cores=1.0)
        yield Cluster(state, node, settings, url, folder)


async def created(stub: v1.DatasetServiceStub, process: FinetuneProcess, spec: Spec | None = None) -> str:
    """Id of a job on the cluster; by default of one that only counts."""
    wanted = spec or Spec(recipe="ngram", parameters={"order": 2}, name="mine")
    dataset = await upload(stub, {"book.txt": book(1)})
    chosen = Spec.of_json(
        {**wanted.to_json(), "dataset_id": dataset.dataset_id, "executor": Executor.KUBERNETES}
    )
    job, _ = await asyncio.to_thread(process.jobs.records.create, TENANT, chosen)
    process.jobs.orchestrator.wake()
    return job.job_id


def training(steps: int = 100_000) -> Spec:
    """Of a language model, for as long as it takes to do something to it."""
    return lm_spec("", steps)


async def stepping(process: FinetuneProcess, job_id: str) -> Job:
    """The job, once it is at its steps."""
    return await until(process, job_id, lambda job: job.state is JobState.RUNNING and job.step > 0)


async def until(process: FinetuneProcess, job_id: str, is_so: Callable[[Job], bool]) -> Job:
    """The job, once it is so."""
    async with asyncio.timeout(_SECONDS):
        while True:
            job = await asyncio.to_thread(process.jobs.records.get, TENANT, job_id)
            if is_so(job):
                return job
            await asyncio.sleep(0.05)


def lines(process: FinetuneProcess, job_id: str) -> list[str]:
    """What its log events say."""
    return [each.data["text"] for each in told(process, job_id) if each.kind is Kind.LOG]


def told(process: FinetuneProcess, job_id: str) -> list[Event]:
    """Its events, whose numbers have no gap."""
    return events(process.jobs.records, job_id)
