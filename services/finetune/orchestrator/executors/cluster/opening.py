"""Puts the Kubernetes executor together, or says why no job can run by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from services.common.database.database import Database
from services.common.settings import to_environment, variables
from services.common.store.settings import StoreSettings
from services.common.tracing.settings import TracingSettings
from services.finetune.orchestrator.executors.cluster.api import ClusterApi
from services.finetune.orchestrator.executors.cluster.executor import ClusterExecutor
from services.finetune.orchestrator.executors.cluster.manifest import Surroundings
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.orchestrator.executors.contract import Terms
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.settings import FinetuneSettings

_OF_THIS_MACHINE = frozenset({"PEQUOD_MODELS", "PEQUOD_CACHE", "PEQUOD_FILE_ROOTS", "PEQUOD_FINETUNE_WORK"})
"""Settings that mean nothing in a Pod."""
_HANDED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ALLOW_HTTP",
    "HF_ENDPOINT",
    "PEQUOD_LOG_LEVEL",
    # Not the headers: a collector's key is in them.
    *variables(TracingSettings),
)
"""Variables that are no settings of ours, or not of this service, and that a worker needs."""


def open_cluster(
    cluster: ClusterSettings,
    own: tuple[FinetuneSettings, StoreSettings, JobSettings],
    database: Database,
    environ: Mapping[str, str],
) -> ClusterExecutor:
    """Raises SettingsError where the cluster cannot be talked to. ``own``: settings that workers share."""
    settings, models, _ = own
    given = for_workers(own, environ)
    terms = Terms(
        accelerators=cluster.accelerators,
        accelerator_type=cluster.accelerator,
        queue=cluster.queue,
        refusal=refusal(settings, models, database.dialect),
        is_remote=True,
        keeps_files=bool(cluster.claim),
    )
    return ClusterExecutor(ClusterApi(cluster), Surroundings(cluster, given, identity(database)), terms)


def for_workers(
    own: tuple[FinetuneSettings, StoreSettings, JobSettings], environ: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a Pod, as far as they are no secrets."""
    settings, models, jobs = own
    given = to_environment(settings) | to_environment(models)
    given |= {"PEQUOD_FINETUNE_JOB_HOURS": f"{jobs.job_hours}"}
    given = {name: value for name, value in given.items() if name not in _OF_THIS_MACHINE}
    return given | {name: environ[name] for name in _HANDED_ON if name in environ}


def refusal(settings: FinetuneSettings, models: StoreSettings, dialect: str) -> str:
    """What a Pod could not reach, and the settings to change; "" when there is nothing."""
    found = []
    if dialect == "sqlite":
        found.append("PEQUOD_DATABASE_URL is a SQLite file, set it to postgresql://USER@HOST/NAME")
    for name, place in (("PEQUOD_STORE", models.user), ("PEQUOD_DATASETS", settings.datasets)):
        if "://" not in place or place.startswith("file:"):
            found.append(f"{name} is a folder, set it to a URL such as s3://bucket/prefix")
    return f"a Pod does not reach what is kept on this machine: {'; '.join(found)}" if found else ""


def identity(database: Database) -> str:
    """Twelve hex digits that are the same for all who share the database, whatever their password."""
    url = database.engine.url
    place = f"{url.get_backend_name()}://{url.host}:{url.port}/{url.database}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]
