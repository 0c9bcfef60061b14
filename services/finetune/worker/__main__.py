"""Works on one job that was claimed: ``python -m services.finetune.worker --job ID --owner O --epoch N``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.common import log, tenants
from services.common.database.database import Database
from services.common.errors import ServiceError
from services.common.parent import end_with_parent
from services.common.rpc.process import BAD_START, ProcessSettings
from services.common.settings import SettingsError, from_environment
from services.common.store.settings import StoreSettings
from services.common.threads import cap_threads
from services.common.tracing.settings import tracing_settings
from services.common.tracing.starting import tracing
from services.finetune.catalogue.entries import recipe
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.checkpoints.records import CheckpointRecords
from services.finetune.database.settings import DatabaseSettings
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import open_content
from services.finetune.jobs.claims import Claim, Claims, Fenced
from services.finetune.jobs.job import Job
from services.finetune.jobs.records import JobRecords
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.promotion.promoting import Promoter
from services.finetune.promotion.records import PromotionRecords
from services.finetune.recipes.watching import Stopped
from services.finetune.settings import FinetuneSettings
from services.finetune.worker.forecasting import forecast
from services.finetune.worker.lifeline import listen, take_folder
from services.finetune.worker.preparing import Means
from services.finetune.worker.reporter import FENCED
from services.finetune.worker.running import Parts, Run, function_of

NAME = "worker"
_TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Set in the processes that torchrun starts, as RANK is; others may set RANK for ends of their own."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Do the work; the exit code says little, the database all."""
    chosen = _read(arguments)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for whoever started us
    log.configure(NAME, from_environment(ProcessSettings, environ).log_level)
    if chosen.parent:
        end_with_parent(chosen.parent)
    os.nice(chosen.nice)
    cap_threads(chosen.threads)
    try:
        settings = from_environment(FinetuneSettings, environ)
        models = from_environment(StoreSettings, environ)
        limits = from_environment(JobSettings, environ)
        tracing_settings(environ)  # a bad one is told of here
        database = from_environment(DatabaseSettings, environ).open()
    except (SettingsError, ServiceError, OSError) as error:
        logging.getLogger("pequod.worker").error("cannot start: %s", error)
        return BAD_START
    tenants.begin(chosen.tenant)
    try:
        with tracing(NAME, environ):
            return _work(chosen, database, settings, models, limits, stopping)
    finally:
        database.close()


def _work(
    chosen: argparse.Namespace,
    database: Database,
    settings: FinetuneSettings,
    models: StoreSettings,
    limits: JobSettings,
    stopping: threading.Event,
) -> int:
    store = models.open()
    datasets = DatasetRecords(database, settings.quota_bytes)
    content = open_content(settings.datasets, models.cache)
    means = Means(datasets, content, store, chosen.threads, chosen.device)
    if chosen.forecast:
        return _forecast(chosen, means)
    jobs, claims = JobRecords(database), Claims(database, chosen.owner)
    if _TORCHRUN in os.environ and os.environ["RANK"] != "0":
        return _follow(jobs.get(chosen.tenant, chosen.job))
    claim = Claim(jobs.get(chosen.tenant, chosen.job), chosen.owner, chosen.epoch)
    folder = JobFolder(settings.work.absolute(), chosen.tenant, chosen.job)
    promoter = Promoter(PromotionRecords(database), store)
    most = limits.job_hours * 3600
    parts = Parts(claims, jobs, CheckpointRecords(database), promoter, means, folder, most)
    try:
        claims.begin(claim)  # before the folder is touched
        take_folder(folder.path, chosen.job)
        run = Run(claim, parts, stopping)
        if chosen.parent:
            listen(run.hurry)
        run.run()
    except Fenced:
        return FENCED
    return 0


def _follow(job: Job) -> int:
    """One of a team, as torchrun starts it: the leader speaks for the job, and says when to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow = function_of(recipe(job.spec.recipe).follow)
    with contextlib.suppress(Stopped):
        follow()
    return 0


def _forecast(chosen: argparse.Namespace, means: Means) -> int:
    """The last line of the log says what went wrong."""
    try:
        forecast(chosen.forecast, chosen.tenant, means)
    except (ServiceError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="services.finetune.worker", description=__doc__)
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--job", help="id of the job")
    what.add_argument("--forecast", type=Path, help="folder of a spec; a few of its steps are run")
    options.add_argument("--tenant", default=tenants.LOCAL, help="whose job it is")
    options.add_argument("--owner", default="", help="who claimed it")
    options.add_argument("--epoch", type=int, default=0, help="number of the claim")
    options.add_argument("--parent", type=int, default=0, help="process whose death ends this one")
    options.add_argument("--nice", type=int, default=0, help="how much lower its priority is")
    options.add_argument("--threads", type=int, default=1, help="threads of the CPU")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return options.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
