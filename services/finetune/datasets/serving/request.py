"""Reads requests of DatasetService: every field checked, the one at fault named."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pequod.finetune import v1
from services.common.errors import Code, Reason, ServiceError, invalid
from services.finetune.datasets.checking.items import unsafe_path
from services.finetune.datasets.dataset import MOST_FILES, BadFiles, Dataset, Kind, Options, State
from services.finetune.datasets.storage.arrivals import ExpectedFile
from services.finetune.datasets.uploads import Start

MOST_CHUNK = 4 * 2**20
MOST_PAGE = 1000
USUAL_PAGE = 100
_MOST_BYTES = 2**53
"""Of all files of an upload; far beyond any disk, and a number everybody can add."""
_MOST_LABELS, _MOST_KEY, _MOST_VALUE, _MOST_NAME = 16, 64, 512, 128
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATASET_ID = re.compile(r"ds-[0-9a-z]{26}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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


def read_uuid(field: str, text: str) -> str:
    """A UUID in its usual spelling. Raises INVALID_ARGUMENT."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        what = "required; it is empty" if not text else f"{text[:80]!r} is no UUID"
        raise invalid(field, what) from None


def read_dataset_id(text: str) -> str:
    """Raises INVALID_ARGUMENT for what cannot be the id of a data set."""
    if not text:
        raise invalid("dataset_id", "required; it is empty")
    if not _DATASET_ID.fullmatch(text):
        raise invalid("dataset_id", f"{text[:80]!r} is not 'ds-' and 26 letters and digits")
    return text


def read_filters(request: v1.ListDatasetsRequest) -> tuple[int, Kind | None, State | None]:
    """Page size, kind and state; None: every one. Raises INVALID_ARGUMENT."""
    if request.page_size > MOST_PAGE:
        raise invalid("page_size", f"{request.page_size} is not in 0..{MOST_PAGE}")
    kind = _enum("kind", request.kind, _KINDS)
    state = _enum("state", request.state, _STATES)
    return request.page_size or USUAL_PAGE, kind or None, state


def page_token(last: Dataset) -> str:
    """Names the data set that a page ended with."""
    microseconds = (last.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(json.dumps([microseconds, last.dataset_id]).encode()).decode()


def read_page_token(token: str) -> tuple[datetime, str] | None:
    """Creation time and id of the last data set of the page before. Raises INVALID_ARGUMENT."""
    if not token:
        return None
    try:
        microseconds, dataset_id = json.loads(base64.b64decode(token.encode(), b"-_", validate=True))
        if type(microseconds) is not int or not _DATASET_ID.fullmatch(dataset_id):
            raise ValueError(token)
        return _EPOCH + timedelta(microseconds=microseconds), dataset_id
    except (ValueError, TypeError, OverflowError):
        raise invalid("page_token", "is not one that this service gave") from None


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
        kind=_enum(f"{prefix}kind", given.kind, _KINDS),
        bad_files=_enum(f"{prefix}bad_files", given.bad_files, _POLICIES),
        labels=_labels(f"{prefix}labels", dict(given.labels)),
    )


def _labels(field: str, given: Mapping[str, str]) -> Mapping[str, str]:
    if len(given) > _MOST_LABELS:
        raise invalid(field, f"are {len(given)}, at most {_MOST_LABELS}")
    for key, value in given.items():
        if not 1 <= len(key) <= _MOST_KEY:
            raise invalid(field, f"key {key[:80]!r} has {len(key)} characters; it must have 1..{_MOST_KEY}")
        if len(value) > _MOST_VALUE:
            raise invalid(field, f"the value of {key!r} has {len(value)} characters, at most {_MOST_VALUE}")
        if "\0" in key + value:
            raise invalid(field, f"{key!r} holds a NUL")
    return given


def _enum(field: str, value: int, known: Mapping[int, Any]) -> Any:
    if value not in known:
        raise invalid(field, f"{value} is none of the values 0..{max(known)}")
    return known[value]


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
