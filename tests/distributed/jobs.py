"""Training jobs on the cluster, through its front door; each answer is asked for until somebody gives it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf import json_format

from pequod.finetune import v1
from tests.distributed.caller import FILES, Caller
from tests.distributed.cluster import Cluster
from tests.distributed.store import Shelf
from tests.unit.finetune.job_parts import TINY_LM
from tests.unit.finetune.parts import requests_of, start_of

ENDED = {v1.JOB_STATE_SUCCEEDED, v1.JOB_STATE_FAILED, v1.JOB_STATE_CANCELLED}
T = TypeVar("T")


class Trainees:
    """Jobs that were accepted, and what became of them."""

    def __init__(self, cluster: Cluster) -> None:
        self.accepted: list[str] = []
        self._cluster = cluster
        self._caller = Caller(cluster)
        self._with = self._caller.given
        self._jobs = v1.FineTuneServiceStub(self._caller.channel)
        datasets = v1.DatasetServiceStub(self._caller.channel)
        sent = requests_of(start_of(FILES), b"".join(FILES.values()))
        self._dataset_id = datasets.UploadDataset(sent, **self._with).dataset.dataset_id

    def create(self, steps: int = 40, max_seconds: int = 0) -> str:
        """Create one that trains a tiny language model, by a request that may be repeated.

        ``max_seconds``: its time limit; 0 for none of its own.
        """
        name = f"tiny-{len(self.accepted)}"
        spec = v1.JobSpec(
            recipe="pretrain_lm",
            dataset_id=self._dataset_id,
            output=v1.Output(name=name),
            steps=steps,
            resources=v1.Resources(max_seconds=max_seconds),
        )
        json_format.ParseDict(TINY_LM, spec.parameters)
        asked = v1.CreateJobRequest(spec=spec, request_id=str(uuid.uuid4()))
        job_id = patiently(lambda: self._jobs.CreateJob(asked, **self._with)).job.job_id
        self.accepted.append(job_id)
        return str(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask for its end; returns when that is written down."""
        asked = v1.CancelJobRequest(job_id=job_id)
        patiently(lambda: self._jobs.CancelJob(asked, **self._with))

    def ended(self, job_id: str) -> v1.Job:
        """One that has no worker any more."""
        until = time.monotonic() + 60.0
        while (job := self.job(job_id)).state not in ENDED:
            if time.monotonic() > until:
                raise TimeoutError(f"job {job_id} is {v1.JobState.Name(job.state)}")
            time.sleep(0.1)
        return job

    def ends(self, seconds: float = 600.0) -> dict[str, v1.Job]:
        """Every accepted job once it has ended. Raises TimeoutError naming those that have not."""
        until, found = time.monotonic() + seconds, dict[str, v1.Job]()
        while missing := [each for each in self.accepted if each not in found]:
            if time.monotonic() > until:
                raise TimeoutError(f"jobs have not ended after {seconds:g} s: {missing}")
            for job_id in missing:
                job = self.job(job_id)
                if job.state in ENDED:
                    found[job_id] = job
            time.sleep(0.5)
        return found

    def job(self, job_id: str) -> v1.Job:
        """How it stands."""
        asked = v1.GetJobRequest(job_id=job_id)
        return patiently(lambda: self._jobs.GetJob(asked, **self._with)).job

    def lost(self) -> list[str]:
        """What is not as promised: jobs that did not succeed, models that are not whole in the store."""
        found = self.ends()
        lost = [f"{each}: {job.error.message}" for each, job in found.items() if not job.model]
        shown = Shelf(self._cluster).whole_versions()
        return lost + [
            f"{job.model} is not in the store" for job in found.values() if job.model not in shown | {""}
        ]

    def close(self) -> None:
        """End the connection."""
        self._caller.channel.close()


def patiently(ask: Callable[[], T], seconds: float = 90.0) -> T:
    """What ``ask`` returns, once the platform is there again. Raises what else it says."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > until:
                raise
        time.sleep(0.2)
