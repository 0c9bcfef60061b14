"""Reads requests of DatasetService: every field checked, the one at fault named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pequod.finetune import v1
from services.common.errors import Code, Reason, ServiceError, invalid
from services.finetune.datasets.checking.items import unsafe_path
from services.finetune.datasets.dataset import MOST_FILES, BadFiles, Dataset, Kind, Options, State
from services.finetune.datasets.storage.arrivals import ExpectedFile
from services.finetune.datasets.uploads import Start
from services.finetune.request_fields import (
    place_token,
    read_enum,
    read_id,
    read_labels,
    read_page_size,
    read_place,
    read_uuid,
)

MOST_CHUNK = 4 * 2**20
_MOST_BYTES = 2**53
"""Of all files of an upload; far beyond any disk, and a number everybody can add."""
_MOST_NAME = 128
_PREFIX = "ds"
_SHA256 = re.compile(r"[0-9a-f]{64}")

_KINDS: Mapping[int, Kind] = {
    v1.DATASET_KIND_UNSPECIFIED: Kind.UNKNOWN,
    v1.DATASET_KIND_IMAGES: Kind.IMAGES,
    v1.DATASET_KIND_TEXT: Kind.TEXT,
    v1.DATASET_KIND_CHAT: Kind.CHAT,
}
_STATES: Mapping[int, State | None] = {
    v1.DATASET_STATE_UNSPECIFIED: None,
    v1.DATASET_STATE_IMPORTING: State.IMPORTING,
    v1.DATASET_STATE_CHECKING: State.CHECKING,
    v1.DATASET_STATE_READY: State.READY,
    v1.DATASET_STATE_FAILED: State.FAILED,
}
_POLICIES: Mapping[int, BadFiles] = {
    v1.BAD_FILE_POLICY_UNSPECIFIED: BadFiles.SKIP,
    v1.BAD_FILE_POLICY_SKIP: BadFiles.SKIP,
    v1.BAD_FILE_POLICY_REFUSE: BadFiles.REFUSE,
}


def read_start(request: v1.UploadDatasetRequest) -> Start:
    """The first message of an upload. Raises INVALID_ARGUMENT."""
    if request.WhichOneof("part") != "start":
        raise invalid("start", "required in the first message")
    start = request.start
    files = _files(start.files)
    size = sum(file.size_bytes for file in files)
    if size > _MOST_BYTES:
        raise invalid("start.files", f"have {size} bytes, at most {_MOST_BYTES}")
    if start.offset > size:
        raise invalid("start.offset", f"{start.offset} is beyond the {size} bytes of all files")
    usual = PurePosixPath(files[0].path).name[:_MOST_NAME]
    options = _options("start.", start, start.display_name or usual)
    return Start(read_uuid("start.upload_id", start.upload_id), options, files, start.offset)


def read_chunk(request: v1.UploadDatasetRequest) -> bytes:
    """A later message of an upload. Raises INVALID_ARGUMENT."""
    part = request.WhichOneof("part")
    if part is None:
        raise invalid("part", "is neither start nor chunk")
    if part == "start":
        raise invalid("start", "stands in the first message only")
    if not 0 < len(request.chunk) <= MOST_CHUNK:
        raise invalid("chunk", f"has {len(request.chunk)} bytes; it must have 1..{MOST_CHUNK}")
    return request.chunk


def read_import(request: v1.ImportDatasetRequest) -> tuple[Options, str, str]:
    """Options, URI and request id, which may be empty. Raises INVALID_ARGUMENT."""
    if not request.uri:
        raise invalid("uri", "required; it is empty")
    parts = [part for part in unquote(_path_of(request.uri)).split("/") if part]
    usual = (parts[-1] if parts else request.uri)[:_MOST_NAME]
    options = _options("", request, request.display_name or usual)
    request_id = read_uuid("request_id", request.request_id) if request.request_id else ""
    return options, request.uri, request_id


def read_dataset_id(text: str) -> str:
    """Raises INVALID_ARGUMENT for what cannot be the id of a data set."""
    return read_id("dataset_id", text, _PREFIX)


def read_filters(request: v1.ListDatasetsRequest) -> tuple[int, Kind | None, State | None]:
    """Page size, kind and state; None: every one. Raises INVALID_ARGUMENT."""
    size = read_page_size(request.page_size)
    kind = read_enum("kind", request.kind, _KINDS)
    state = read_enum("state", request.state, _STATES)
    return size, kind or None, state


def page_token(last: Dataset) -> str:
    """Names the data set that a page ended with."""
    return place_token(last.created_at, last.dataset_id)


def read_page_token(token: str) -> tuple[datetime, str] | None:
    """Creation time and id of the last data set of the page before. Raises INVALID_ARGUMENT."""
    return read_place(token, _PREFIX)


def _files(given: Sequence[v1.UploadFile]) -> list[ExpectedFile]:
    if not 1 <= len(given) <= MOST_FILES:
        raise invalid("start.files", f"are {len(given)}; there must be 1..{MOST_FILES}")
    seen: dict[str, int] = {}
    for index, file in enumerate(given):
        field = f"start.files[{index}]"
        if why := unsafe_path(file.path):
            raise _unsafe(f"{field}.path", f"{file.path[:200]!r} {why}")
        if seen.setdefault(file.path, index) != index:
            raise invalid(f"{field}.path", f"{file.path[:200]!r} stands in files[{seen[file.path]}] too")
        if file.size_bytes > _MOST_BYTES:
            raise invalid(f"{field}.size_bytes", f"{file.size_bytes} is more than {_MOST_BYTES}")
        if file.sha256 and not _SHA256.fullmatch(file.sha256):
            raise invalid(f"{field}.sha256", "is not 64 lowercase hexadecimal digits")
    return [ExpectedFile(file.path, file.size_bytes, file.sha256) for file in given]


def _options(prefix: str, given: v1.UploadStart | v1.ImportDatasetRequest, name: str) -> Options:
    if not 1 <= len(name) <= _MOST_NAME:
        raise invalid(f"{prefix}display_name", f"has {len(name)} characters; it must have 1..{_MOST_NAME}")
    return Options(
        display_name=name,
        kind=read_enum(f"{prefix}kind", given.kind, _KINDS),
        bad_files=read_enum(f"{prefix}bad_files", given.bad_files, _POLICIES),
        labels=read_labels(f"{prefix}labels", dict(given.labels)),
    )


def _path_of(uri: str) -> str:
    try:
        return urlsplit(uri).path
    except ValueError:
        return ""  # refused later, with the reason


def _unsafe(field: str, description: str) -> ServiceError:
    refusal = invalid(field, description)
    return ServiceError(
        Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH, refusal.message, violations=refusal.violations
    )
