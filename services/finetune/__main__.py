"""Runs the fine-tune service: ``python -m services.finetune``."""

from __future__ import annotations

import os
import socket
import sys
import uuid

import grpc.aio

from pequod.finetune.v1 import add_DatasetServiceServicer_to_server, add_FineTuneServiceServicer_to_server
from services.common.catalogue import MODEL_SERVICE, SERVICES, entry
from services.common.database.database import Database
from services.common.disks import DiskCollector
from services.common.metrics import Metrics
from services.common.rpc.process import run
from services.common.rpc.server import serve, server_settings
from services.common.settings import from_environment, to_environment
from services.common.store.settings import StoreSettings
from services.common.work import Work
from services.finetune.counting import TokenCounter
from services.finetune.database.settings import SCHEMA, DatabaseSettings
from services.finetune.datasets.importing.source import Allowed
from services.finetune.datasets.service import Datasets, Limits
from services.finetune.datasets.serving.servicer import DatasetServicer
from services.finetune.datasets.storage.content import open_content
from services.finetune.holding import add_holding, resources_of
from services.finetune.jobs.service import Jobs, Parts
from services.finetune.jobs.serving.servicer import FineTuneServicer
from services.finetune.orchestrator.executors.children import Children
from services.finetune.orchestrator.executors.cluster.executor import ClusterExecutor
from services.finetune.orchestrator.executors.cluster.opening import open_cluster
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.settings import FinetuneSettings
from services.finetune.webhooks.addresses import Addresses

NAME = "finetune"
_QUERIES = 4
"""Threads that ask the database."""
_MAX_WAITING = 1024


class FinetuneProcess:
    """The parts of the service put together; ``services.common.rpc.server`` gives it its life."""

    def __init__(
        self,
        settings: FinetuneSettings,
        jobs: JobSettings,
        models: StoreSettings,
        database: Database,
        metrics: Metrics,
        cluster: ClusterExecutor | None = None,
    ) -> None:
        self.database = database
        store, owner = models.open(), f"{socket.gethostname()[:40]}-{uuid.uuid4().hex[:12]}"
        self._counter = TokenCounter(store, settings.encoding)
        self._work = Work(NAME, metrics, _QUERIES, _MAX_WAITING)
        self.datasets = Datasets(
            database,
            open_content(settings.datasets, models.cache),
            settings.work,
            Limits(settings.quota_bytes, settings.upload_hours * 3600),
            Allowed(models.file_roots, settings.import_from),
            self._counter.load,
            metrics,
            owner=owner,
        )
        variables = {**to_environment(settings), **to_environment(models), **to_environment(jobs)}
        variables |= {SCHEMA.setting: database.url}
        parts = Parts(database, self.datasets.records, store, settings.work, Addresses(jobs.private_webhooks))
        self.store = store
        self.jobs = Jobs(parts, jobs, Children(jobs, variables), metrics, owner, cluster)
        self._resources = resources_of(settings, models, self.jobs.memory_bytes)
        of_database = {"database": database.folder} if database.folder else {}
        metrics.registry.register(DiskCollector({**self._resources.folders, **of_database}))
        self._jobs_servicer = FineTuneServicer(self.jobs, self._work)
        self._servicer = DatasetServicer(self.datasets, self._work)

    def register(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Add the servicers."""
        add_DatasetServiceServicer_to_server(self._servicer, server)
        add_FineTuneServiceServicer_to_server(self._jobs_servicer, server)
        add_holding(server, self._resources, NAME)
        return (*entry(NAME).grpc_services, MODEL_SERVICE)

    async def start(self) -> None:
        """Find the encoding, take up what a process before left unfinished."""
        await self._counter.find()
        self.datasets.worker.start()
        self.jobs.orchestrator.start()
        self.jobs.sender.start()

    async def close(self) -> None:
        """Let go of the work, then of the database."""
        await self.jobs.orchestrator.close()
        await self.jobs.sender.close()
        await self.datasets.worker.close()
        await self._work.close()
        await self._servicer.close()
        self.database.close()


async def main() -> None:
    """Read the settings and serve until told to stop."""
    metrics = Metrics(NAME)
    settings = from_environment(FinetuneSettings, os.environ)
    models = from_environment(StoreSettings, os.environ)
    database = from_environment(DatabaseSettings, os.environ).open()
    jobs = from_environment(JobSettings, os.environ)
    clusters = from_environment(ClusterSettings, os.environ)
    cluster = None
    if clusters.is_on:
        cluster = open_cluster(clusters, (settings, models, jobs), database, os.environ)
    process = FinetuneProcess(settings, jobs, models, database, metrics, cluster)
    await serve(process, server_settings(entry(NAME), os.environ), metrics)


if __name__ == "__main__":
    sys.exit(run(NAME, main, len(SERVICES)))
