"""Removes what nobody needs any more: folders of jobs that are gone, of forecasts that were cut off."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from services.common.errors import Code, ServiceError
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import ENDED

QUIET_SECONDS = 3600.0
"""A folder that nothing was written to for so long is nobody's at the moment."""

_logger = logging.getLogger("pequod.jobs")


def tidy(records: JobRecords, work: Path) -> None:
    """Folders whose job is gone are removed, those of ended jobs keep checkpoints and previews."""
    removed = 0
    for path in _quiet(work / "jobs", "*/*"):
        folder = JobFolder(work, path.parent.name, path.name)
        if not _is_known(records, path.parent.name, path.name, folder):
            folder.remove()
            removed += 1
    for path in _quiet(work / "forecasts", "*"):
        shutil.rmtree(path, ignore_errors=True)
        removed += 1
    if removed:
        _logger.info("tidied up", extra={"folders": removed})


def _is_known(records: JobRecords, tenant: str, job_id: str, folder: JobFolder) -> bool:
    """Whether there is such a job; what only its recipe needed goes once it has ended."""
    try:
        job = records.get(tenant, job_id)
    except ServiceError as error:
        if error.code is Code.NOT_FOUND:
            return False
        raise
    if job.state in ENDED:
        folder.end()
    return True


def _quiet(root: Path, pattern: str) -> Iterator[Path]:
    for path in list(root.glob(pattern)):
        if path.is_dir() and time.time() - path.stat().st_mtime > QUIET_SECONDS:
            yield path
