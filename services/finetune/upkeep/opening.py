"""The garbage of the whole platform, and what a backup holds, as its settings say where things are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from services.common.database.database import Database
from services.common.settings import from_environment
from services.common.store.garbage.opening import garbage_of
from services.common.store.garbage.versions import Needs, Rules
from services.common.store.settings import StoreSettings
from services.common.upkeep.backup.databases import Place
from services.common.upkeep.backup.parts import BlobPart, Folder, Parts
from services.common.upkeep.collecting import Source
from services.common.upkeep.loaded import addresses, loaded
from services.common.upkeep.policy import Policy
from services.finetune.checkpoints.folder import files_of_jobs
from services.finetune.database.schema import DATASET_FILES
from services.finetune.database.settings import SCHEMA, DatabaseSettings
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import open_content
from services.finetune.datasets.storage.keeping import Keeper
from services.finetune.datasets.uploads import Uploads
from services.finetune.settings import FinetuneSettings
from services.finetune.upkeep.checkpoints import CheckpointGarbage
from services.finetune.upkeep.datasets import ContentGarbage, DatasetGarbage, UploadGarbage
from services.finetune.upkeep.needs import JobNeeds


@contextlib.contextmanager
def garbage(policy: Policy, environ: Mapping[str, str]) -> Iterator[Sequence[Source]]:
    """Every source; what others need less for it comes first.

    Raises SettingsError, and ServiceError for a database that does not answer.
    """
    stored = from_environment(StoreSettings, environ)
    settings = from_environment(FinetuneSettings, environ)
    database = from_environment(DatabaseSettings, environ).open()
    try:
        jobs = JobNeeds(database, stored.open(), policy.checkpoint_seconds)
        rules = Rules(policy.keep_last, policy.grace_seconds)
        found = garbage_of(stored, _needs(jobs, policy, environ), rules)
        yield [*_of_jobs(policy, settings, stored, database), found.versions, *found.others]
    finally:
        database.close()


def _needs(jobs: JobNeeds, policy: Policy, environ: Mapping[str, str]) -> Needs:
    """What jobs need, and what services have in memory."""

    def needs() -> Mapping[tuple[str, str], str]:
        if policy.is_offline:
            return jobs()
        return {**jobs(), **loaded(policy.asked or addresses(environ))}

    return needs


def _of_jobs(
    policy: Policy, settings: FinetuneSettings, stored: StoreSettings, database: Database
) -> Iterator[Source]:
    content = open_content(settings.datasets, stored.cache)
    records = DatasetRecords(database, settings.quota_bytes)
    keeper = Keeper(database, content)
    if policy.checkpoint_seconds is not None:
        yield CheckpointGarbage(database, settings.work, policy.checkpoint_seconds)
    yield UploadGarbage(database, Uploads(records, settings.work / "uploads", settings.upload_hours * 3600))
    if policy.dataset_seconds is not None:
        yield DatasetGarbage(records, keeper, policy.dataset_seconds)
    yield ContentGarbage(database, keeper, content)


def kept(environ: Mapping[str, str]) -> Parts:
    """What a backup holds of the store, the data sets and the jobs. Raises SettingsError."""
    stored = from_environment(StoreSettings, environ)
    settings = from_environment(FinetuneSettings, environ)
    place = Place("finetune", from_environment(DatabaseSettings, environ).url, SCHEMA)
    content = open_content(settings.datasets, stored.cache)
    return Parts(
        databases=(place,),
        folders=(Folder("jobs", settings.work / "jobs", lambda: files_of_jobs(settings.work)),),
        layers=stored.layers(),
        blobs=BlobPart(content, place.name, DATASET_FILES.name),
    )
