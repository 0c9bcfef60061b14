"""Runs each job as a Kubernetes Job; what there is to know of runs, the API's objects say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor
from services.finetune.orchestrator.executors.cluster import reading
from services.finetune.orchestrator.executors.cluster.api import ClusterApi, Json
from services.finetune.orchestrator.executors.cluster.manifest import (
    DATABASE,
    EPOCH,
    JOB,
    OWNER,
    TENANT,
    Surroundings,
    manifest,
    name_of,
)
from services.finetune.orchestrator.executors.contract import Run, Standing, Terms, View

STUCK_SECONDS = 300.0
"""For which a container may fail to start: a registry may be away for a while."""

_logger = logging.getLogger("pequod.jobs")


class ClusterExecutor:
    """Jobs of one namespace. They go on when this process ends; the next one finds them by their labels."""

    name = Executor.KUBERNETES
    outlives = True

    def __init__(self, api: ClusterApi, surroundings: Surroundings, terms: Terms) -> None:
        self.terms = terms
        self._api, self._surroundings = api, surroundings
        self._ours = f"{DATABASE}={surroundings.database}"
        self._live: set[str] = set()
        self._forgotten: set[str] = set()
        """Ended, and that is written down."""
        self._given_up: set[str] = set()
        """Stuck, and that is written down; the Jobs are still to be stopped."""
        self._stuck_since: dict[str, float] = {}

    def free(self) -> int | None:
        """What is free in the cluster its scheduler knows: here only the number of Jobs is held down."""
        return self.terms.accelerators if len(self._live) < self._surroundings.settings.jobs else None

    async def launch(self, claim: Claim) -> str:
        """Make its Job, unless it is there."""
        handle = name_of(claim)
        is_new = await asyncio.to_thread(self._api.create_job, manifest(claim, self._surroundings))
        if not is_new:
            _logger.info("Job %s was there already", handle)
        self._live.add(handle)
        return handle

    async def poll(self) -> Sequence[Run]:
        """By two questions, however many there are."""
        jobs = await asyncio.to_thread(self._api.list_jobs, self._ours)
        pods = await asyncio.to_thread(self._api.list_pods, self._ours)
        names = {each["metadata"]["name"] for each in jobs}
        self._live = {each["metadata"]["name"] for each in jobs if not reading.is_over(each)}
        self._forgotten &= names
        self._given_up &= names
        self._stuck_since = {name: at for name, at in self._stuck_since.items() if name in names}
        new = [each for each in jobs if each["metadata"]["name"] not in self._forgotten]
        return [self._run(each, _of(each, pods)) for each in new]

    async def stop(self, handle: str, grace: float) -> None:
        """Delete its Job and Pods."""
        selector = _selector(*handle.rsplit("-", 1))
        await asyncio.to_thread(self._api.delete_job, handle, f"{self._ours},{selector}", grace)

    def nudge(self, tenant: str, job_id: str) -> None:
        """Nothing: a pod is told by the database alone."""

    def forget(self, handle: str) -> None:
        """Its Job stays for a while, for people to look at."""
        (self._given_up if handle in self._live else self._forgotten).add(handle)

    def _run(self, job: Json, pods: Sequence[Json]) -> Run:
        about = job["metadata"]
        labels, notes = about["labels"], about.get("annotations", {})
        seen = reading.view(job, pods)
        if seen.standing is Standing.WAITING:
            seen = self._patient(about["name"], seen, pods)
        elif seen.standing is Standing.ENDED and (words := reading.last_words(pods)):
            _logger.warning("run %s ended badly", about["name"], extra={"last_words": words})
        tenant = notes.get(TENANT, labels[TENANT])
        return Run(tenant, labels[JOB], notes.get(OWNER, ""), int(labels[EPOCH]), about["name"], seen)

    def _patient(self, name: str, seen: View, pods: Sequence[Json]) -> View:
        """A run whose container does not start is over after a while."""
        end = reading.stuck(pods)
        if end is None or name in self._given_up:
            self._stuck_since.pop(name, None)
            return seen
        since = self._stuck_since.setdefault(name, time.monotonic())
        if time.monotonic() - since < STUCK_SECONDS:
            return seen
        return replace(end, message=f"{end.message}, for {STUCK_SECONDS:g} s")


def _of(job: Json, pods: Iterable[Json]) -> list[Json]:
    """The Pods of a Job."""
    labels = job["metadata"]["labels"]
    mine = (labels[JOB], labels[EPOCH])
    return [
        each for each in pods if (each["metadata"]["labels"][JOB], each["metadata"]["labels"][EPOCH]) == mine
    ]


def _selector(job_id: str, epoch: str) -> str:
    return f"{JOB}={job_id},{EPOCH}={epoch}"
