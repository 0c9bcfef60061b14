"""What a data set is, in plain Python; the values of the enums stand in the database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

MOST_FILES = 100_000
MOST_ISSUES = 1000

_ID_SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Kind(StrEnum):
    """What it holds."""

    UNKNOWN = ""
    IMAGES = "images"
    TEXT = "text"
    CHAT = "chat"


class State(StrEnum):
    """Where it stands."""

    IMPORTING = "importing"
    CHECKING = "checking"
    READY = "ready"
    FAILED = "failed"


class BadFiles(StrEnum):
    """What becomes of a file that cannot be used."""

    SKIP = "skip"
    REFUSE = "refuse"


class Problem(StrEnum):
    """What is wrong with a file."""

    CORRUPT = "corrupt"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    NO_CAPTION = "no_caption"
    MALFORMED_LINE = "malformed_line"
    UNSAFE_PATH = "unsafe_path"
    ARCHIVE_BOMB = "archive_bomb"
    INVALID_UTF8 = "invalid_utf8"


class Role(StrEnum):
    """What a file that is used is for."""

    PICTURE = "picture"
    CAPTION = "caption"
    """One caption, of the picture of the same name."""
    CAPTIONS = "captions"
    """A line of JSON a picture."""
    DOCUMENT = "document"
    RECORDS = "records"
    """A line of JSON an example: texts, or conversations."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Issue(_Record):
    """A file with what is wrong with it. ``line`` counts from 1; 0: the whole file."""

    path: str
    problem: Problem
    message: str
    skipped: bool = False
    line: int = 0
    other_path: str = ""


class Report(_Record):
    """What a check found; the fields are those of ``pequod.finetune.v1.DatasetReport``."""

    files: int = 0
    skipped_files: int = 0
    examples: int = 0
    size_bytes: int = 0
    formats: dict[str, int] = {}
    duplicates: int = 0
    captions_missing: int = 0
    tokens: int = 0
    token_encoding: str = ""
    min_width: int = 0
    min_height: int = 0
    max_width: int = 0
    max_height: int = 0
    issues: tuple[Issue, ...] = ()
    issue_count: int = 0


class Progress(_Record):
    """How far an import or a check has come. ``total`` 0: not known yet."""

    completed: int = 0
    total: int = 0
    unit: str = "files"
    message: str = ""


@dataclass(frozen=True)
class Options:
    """What a caller says of a data set besides its files."""

    display_name: str
    kind: Kind = Kind.UNKNOWN
    bad_files: BadFiles = BadFiles.SKIP
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A data set as it stands. Sizes are bytes, times UTC."""

    tenant: str
    dataset_id: str
    display_name: str
    kind: Kind
    state: State
    bad_files: BadFiles
    labels: Mapping[str, str]
    source_uri: str
    digest: str
    size_bytes: int
    report: Report | None
    error: str
    progress: Progress | None
    created_at: datetime

    @property
    def ended(self) -> bool:
        """Whether nothing is under way."""
        return self.state in {State.READY, State.FAILED}


@dataclass(frozen=True)
class StoredFile:
    """A file that is used, by its path in the data set."""

    path: str
    role: Role
    sha256: str
    size_bytes: int


def new_dataset_id() -> str:
    """ "ds-" and 26 letters and digits, drawn."""
    return "ds-" + "".join(secrets.choice(_ID_SYMBOLS) for _ in range(26))
