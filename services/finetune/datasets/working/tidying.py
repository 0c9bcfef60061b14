"""Removes what nobody needs any more: late uploads, content without a holder, folders without a row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from services.common.errors import Code, ServiceError
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.arrivals import Arrival, claimed
from services.finetune.datasets.storage.keeping import Keeper
from services.finetune.datasets.uploads import Uploads

QUIET_SECONDS = 3600.0
"""A folder that nothing was written to for so long is no longer being filled."""

_logger = logging.getLogger("pequod.datasets")


def tidy(records: DatasetRecords, uploads: Uploads, keeper: Keeper, folders: tuple[Path, Path]) -> None:
    """``folders``: of imports and of uploads."""
    imports, uploading = folders
    counts = {
        "uploads": uploads.expire(),
        "files": keeper.sweep(),
        "folders": _strays(imports, lambda tenant, name: _is_over(records, tenant, name))
        + _strays(uploading, lambda tenant, name: _is_done(uploads, tenant, name)),
    }
    if any(counts.values()):
        _logger.info("tidied up", extra=counts)


def _strays(root: Path, needless: Callable[[str, str], bool]) -> int:
    removed = 0
    for folder in _quiet(root):
        with claimed(folder) as ours:
            if ours and needless(folder.parent.name, folder.name):
                Arrival(folder, ()).remove()
                removed += 1
    return removed


def _quiet(root: Path) -> Iterator[Path]:
    for folder in list(root.glob("*/*")):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > QUIET_SECONDS:
            yield folder


def _is_over(records: DatasetRecords, tenant: str, dataset_id: str) -> bool:
    try:
        return records.get(tenant, dataset_id).ended
    except ServiceError as error:
        if error.code is Code.NOT_FOUND:
            return True
        raise


def _is_done(uploads: Uploads, tenant: str, upload_id: str) -> bool:
    try:
        dataset = uploads.standing(tenant, upload_id).dataset
    except ServiceError as error:
        if error.code is Code.NOT_FOUND:
            return True
        raise
    return dataset is not None and dataset.ended
