"""Everything that may be asked of jobs, put together."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from services.common.database.database import Database
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.store import ModelStore
from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.checkpoints.records import CheckpointRecords
from services.finetune.datasets.records import DatasetRecords
from services.finetune.jobs.claims import Claims
from services.finetune.jobs.job import Job, Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.rows import row
from services.finetune.jobs.serving.spec import SpecReader
from services.finetune.orchestrator.examining import Examiner
from services.finetune.orchestrator.executors.children import Children
from services.finetune.orchestrator.executors.contract import Executor
from services.finetune.orchestrator.executors.local import LocalExecutor
from services.finetune.orchestrator.expecting import Expectation
from services.finetune.orchestrator.forecasting import Forecaster
from services.finetune.orchestrator.orchestrator import Orchestrator
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.orchestrator.tending import Tender
from services.finetune.orchestrator.tidying import tidy
from services.finetune.orchestrator.validating import Validator
from services.finetune.promotion.promoting import Promoted, Promoter
from services.finetune.promotion.records import PromotionRecords, Wanted, mark
from services.finetune.report.told import Told, Write
from services.finetune.webhooks.addresses import Addresses
from services.finetune.webhooks.outbox import Outbox
from services.finetune.webhooks.sending import Sender


@dataclass(frozen=True)
class Parts:
    """What jobs are made of and turned into. ``work``: the folder of jobs' folders."""

    database: Database
    datasets: DatasetRecords
    store: ModelStore
    work: Path
    addresses: Addresses
    trust: ssl.SSLContext | None = None
    """Whose certificates count where webhooks lead; None: those that this machine trusts."""


class Jobs:
    """Blocking, but for the orchestrator, which lives on the event loop."""

    def __init__(
        self,
        parts: Parts,
        settings: JobSettings,
        children: Children,
        metrics: Metrics,
        owner: str,
        cluster: Executor | None = None,
    ) -> None:
        """``owner``: name of this process, unlike any other's. ``cluster``: runs jobs elsewhere."""
        local = LocalExecutor(settings, parts.work, children)
        executors: list[Executor] = [local] if cluster is None else [local, cluster]
        self.records = JobRecords(parts.database)
        self.checkpoints = CheckpointRecords(parts.database)
        terms = {each.name: each.terms for each in executors}
        self.examiner = Examiner(parts.datasets, parts.store, terms)
        self.promoter = Promoter(PromotionRecords(parts.database), parts.store)
        self.reader = SpecReader(parts.addresses, self.examiner.usual_resources)
        self._parts = parts
        self._forecaster = Forecaster(children, self.records, parts.work, settings.jobs)
        claims = Claims(parts.database, owner)
        validator = Validator(claims, self.examiner, Expectation(self.records, settings.jobs))
        self.sender = Sender(Outbox(parts.database), parts.addresses, metrics, parts.trust)
        clean = partial(tidy, self.records, parts.work)
        tenders = [Tender(each, claims, self.records, metrics) for each in executors]
        self.orchestrator = Orchestrator(self.records, validator, tenders, metrics, clean)
        local.changed = self.orchestrator.wake
        self.memory_bytes = local.memory_bytes
        """Bytes of memory that jobs at work on this machine hold."""

    def create(
        self, tenant: str, spec: Spec, request_id: str, asked: str, trace: Mapping[str, str]
    ) -> tuple[Job, bool]:
        """A job in state VALIDATING, or the one that ``request_id`` made before, and True.

        ``trace``: context of the call that asks, in W3C's headers; the job's runs are below it.
        What can be known to be in its way already is refused. Raises as the examiner and the records do.
        """
        if (known := self.records.made_by(tenant, request_id, asked)) is not None:
            return known, True
        self.examiner.examine(tenant, spec)
        return self.records.create(tenant, spec, request_id, asked, trace)

    async def forecast(self, tenant: str, spec: Spec) -> Mapping[str, Any]:
        """What a job would take. On the event loop; raises as the forecaster does."""
        return await self._forecaster.forecast(tenant, spec)

    def promote(
        self, tenant: str, job_id: str, checkpoint_id: str, name: str, alias: str, expected: str | None
    ) -> tuple[Promoted, Checkpoint]:
        """Publish a checkpoint, the best where none is named. Raises as the promoter does, and NOT_FOUND."""
        job = self.records.get(tenant, job_id)
        chosen = checkpoint_id or job.best_checkpoint_id
        if not chosen:
            what = f"job {job_id} has no checkpoint that is good; name one to promote it all the same"
            raise ServiceError(Code.FAILED_PRECONDITION, Reason.CHECKPOINT_NOT_FOUND, what)
        checkpoint = self.checkpoints.get(tenant, job_id, chosen)
        folder = self.folder(tenant, job_id).candidate(checkpoint.step)
        wanted = Wanted(tenant, job_id, chosen, name or job.spec.name, alias or job.spec.alias)
        promoted = self.promoter.promote(job, checkpoint, folder, wanted, self._mark, expected)
        return promoted, self.checkpoints.get(tenant, job_id, chosen)

    def delete(self, tenant: str, job_id: str) -> int:
        """Forget an ended job and its files; returns the bytes that are free now."""
        self.records.delete(tenant, job_id)
        return self.folder(tenant, job_id).remove()

    def report(self, tenant: str, job_id: str, write: Write) -> bytes:
        """The chart of a job's figures and scores, with the previews."""
        job = self.records.get(tenant, job_id)
        folder = self.folder(tenant, job_id)
        checkpoints = self.checkpoints.all(tenant, job_id)
        return write(Told(job, checkpoints, self.records.figures(tenant, job_id), folder.preview))

    def folder(self, tenant: str, job_id: str) -> JobFolder:
        """Where a job's files are."""
        return JobFolder(self._parts.work, tenant, job_id)

    def _mark(self, wanted: Wanted) -> None:
        def task(connection: Connection) -> None:
            mark(connection, row(connection, wanted.tenant, wanted.job_id), wanted)

        self._parts.database.write(task)
