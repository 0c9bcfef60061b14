"""Files of this machine made ready for an upload, and sent in as many streams as it takes."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from pequod.finetune.v1 import (
    BadFilePolicy,
    DatasetKind,
    GetUploadRequest,
    UploadDatasetRequest,
    UploadFile,
    UploadStart,
)
from pequod_client import Client, PequodError

TIMEOUT = 24 * 3600.0
_CHUNK = 1 << 20
_TRIES = 5
"""Streams that may break one after the other without a byte more."""
_PAUSE = 1.0
_NAMESPACE = uuid.UUID("5be34cc1-7a15-4a62-9d0c-2f1f1d6f4a55")


@dataclass(frozen=True)
class LocalFile:
    """A file here, and what is said of it there."""

    path: Path
    message: UploadFile


def gather(path: Path, bars: Progress) -> list[LocalFile]:
    """The file, or all files below the folder but hidden ones, hashed. Raises FileNotFoundError, OSError."""
    found = _below(path) if path.is_dir() else [(path.name, path)]
    total = sum(file.stat().st_size for _, file in found)
    task = bars.add_task("hashing", total=total)
    files = []
    for name, file in found:
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
        bars.advance(task, size)
        files.append(LocalFile(file, UploadFile(path=name, size_bytes=size, sha256=sha256)))
    bars.remove_task(task)
    return files


def start_of(
    files: Sequence[LocalFile], name: str, kind: DatasetKind.ValueType, bad_files: BadFilePolicy.ValueType
) -> UploadStart:
    """The same start for the same files and options: sent again, an upload goes on where it broke off."""
    listed = [(file.message.path, file.message.sha256) for file in files]
    upload_id = uuid.uuid5(_NAMESPACE, json.dumps([listed, name, int(kind), int(bad_files)]))
    return UploadStart(
        upload_id=str(upload_id),
        display_name=name[:128],
        kind=kind,
        files=[file.message for file in files],
        bad_files=bad_files,
    )


def send(client: Client, start: UploadStart, files: Sequence[LocalFile], bars: Progress) -> str:
    """Upload ``files``; returns the data set's id. Raises PequodError when it breaks again and again."""
    task = bars.add_task("uploading", total=sum(file.message.size_bytes for file in files))
    tries = _TRIES
    while True:
        start.offset = _kept(client, start.upload_id)
        bars.update(task, completed=start.offset)
        try:
            requests = _requests(start, files, lambda sent: bars.update(task, completed=sent))
            return client.datasets.UploadDataset(requests, timeout=TIMEOUT).dataset.dataset_id
        except PequodError as error:
            tries -= 1
            if error.code.name not in {"UNAVAILABLE", "ABORTED"} or not tries:
                raise
            time.sleep(_PAUSE)
            if _kept(client, start.upload_id) > start.offset:
                tries = _TRIES


def _requests(
    start: UploadStart, files: Sequence[LocalFile], sent: Callable[[int], None]
) -> Iterator[UploadDatasetRequest]:
    """The start, then the bytes from its offset on."""
    yield UploadDatasetRequest(start=start)
    skip = at = start.offset
    for file in files:
        if skip >= file.message.size_bytes:
            skip -= file.message.size_bytes
            continue
        with file.path.open("rb") as opened:
            opened.seek(skip)
            skip = 0
            while chunk := opened.read(_CHUNK):
                yield UploadDatasetRequest(chunk=chunk)
                at += len(chunk)
                sent(at)


def _kept(client: Client, upload_id: str) -> int:
    """Bytes of an earlier try that the service has."""
    try:
        return client.datasets.GetUpload(GetUploadRequest(upload_id=upload_id)).offset
    except PequodError as error:
        if error.code.name == "NOT_FOUND":
            return 0
        raise


def _below(folder: Path) -> list[tuple[str, Path]]:
    files = []
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            files.append((inside.as_posix(), file))
    return files
