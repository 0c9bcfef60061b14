"""Everything that may be asked of data sets, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.common.database.database import Database
from services.common.metrics import Metrics
from services.finetune.datasets.checking.check import Tokens
from services.finetune.datasets.dataset import Dataset, Options
from services.finetune.datasets.importing.opening import open_source
from services.finetune.datasets.importing.source import Allowed
from services.finetune.datasets.reader import DatasetReader, open_dataset
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import Content
from services.finetune.datasets.storage.keeping import Keeper
from services.finetune.datasets.uploads import Uploads
from services.finetune.datasets.working.leases import Leases
from services.finetune.datasets.working.task import Means
from services.finetune.datasets.working.tidying import tidy
from services.finetune.datasets.working.worker import LEASE_SECONDS, Worker


@dataclass(frozen=True)
class Limits:
    """``quota_bytes`` of one tenant, 0 for none; ``upload_seconds`` that a broken upload is kept."""

    quota_bytes: int
    upload_seconds: float


class Datasets:
    """Blocking, but for the worker, which lives on the event loop."""

    def __init__(
        self,
        database: Database,
        content: Content,
        work: Path,
        limits: Limits,
        allowed: Allowed,
        tokens: Callable[[], Tokens],
        metrics: Metrics,
        owner: str,
    ) -> None:
        """``work``: folder for files on their way in; ``owner``: name of this process, unlike any other's."""
        self.records = DatasetRecords(database, limits.quota_bytes)
        self.uploads = Uploads(self.records, work / "uploads", limits.upload_seconds)
        self.metrics = metrics
        self._content = content
        self._keeper = Keeper(database, content)
        self._allowed = allowed
        leases = Leases(self.records, owner, LEASE_SECONDS)
        means = Means(leases, self._keeper, self.uploads, work / "imports", allowed, tokens)
        folders = work / "imports", work / "uploads"
        self.worker = Worker(means, partial(tidy, self.records, self.uploads, self._keeper, folders), metrics)

    def create_import(self, tenant: str, options: Options, uri: str, request_id: str) -> Dataset:
        """Begin an import, or find the one that ``request_id`` began.

        Raises INVALID_ARGUMENT for a URI that may not be read, ALREADY_EXISTS as the records do.
        """
        open_source(uri, self._allowed)
        return self.records.create_import(tenant, options, uri, request_id)

    def delete(self, tenant: str, dataset_id: str) -> int:
        """Delete a data set; returns the bytes that are free now. Raises as the records do."""
        freed = self.records.delete(tenant, dataset_id)
        self._keeper.sweep()
        return freed

    def open(self, tenant: str, dataset_id: str) -> DatasetReader:
        """The examples of a READY data set, for jobs. Raises NOT_FOUND or FAILED_PRECONDITION."""
        return open_dataset(self.records, self._content, tenant, dataset_id)
