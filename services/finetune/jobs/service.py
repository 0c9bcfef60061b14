"""Everything that may be asked of jobs, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.metrics import Metrics
from services.common.store import ModelStore
from services.finetune.checkpoints.records import CheckpointRecords
from services.finetune.database.database import Database
from services.finetune.datasets.records import DatasetRecords
from services.finetune.jobs.claims import Claims
from services.finetune.jobs.records import JobRecords
from services.finetune.orchestrator.examining import Examiner
from services.finetune.orchestrator.executors.contract import Executor
from services.finetune.orchestrator.orchestrator import Orchestrator
from services.finetune.orchestrator.validating import Validator
from services.finetune.promotion.promoting import Promoter
from services.finetune.promotion.records import PromotionRecords


@dataclass(frozen=True)
class Parts:
    """What jobs are made of and turned into. ``work``: the folder of jobs' folders."""

    database: Database
    datasets: DatasetRecords
    store: ModelStore
    work: Path


class Jobs:
    """Blocking, but for the orchestrator, which lives on the event loop."""

    def __init__(self, parts: Parts, executors: Sequence[Executor], metrics: Metrics, owner: str) -> None:
        """``owner``: name of this process, unlike any other's."""
        self.records = JobRecords(parts.database)
        self.checkpoints = CheckpointRecords(parts.database)
        self.examiner = Examiner(
            parts.datasets, parts.store, {each.name: each.accelerators for each in executors}
        )
        self.promoter = Promoter(PromotionRecords(parts.database), parts.store)
        claims = Claims(parts.database, owner)
        validator = Validator(claims, self.examiner)
        self.orchestrator = Orchestrator(claims, self.records, validator, executors, metrics)
