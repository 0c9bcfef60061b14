"""What a backup says of itself: everything that is in it, each by the SHA-256 of its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHA256 = r"^[0-9a-f]{64}$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(_Frozen):
    """Bytes that lie in the backup under their hash."""

    sha256: str = Field(pattern=SHA256)
    size_bytes: int = Field(ge=0)


class Rows(_Frozen):
    """A table: its rows as JSON, one array a line, after a line with the names of the columns; gzipped."""

    table: str
    rows: int
    piece: Piece


class DatabaseCopy(_Frozen):
    """A database as it was in one moment."""

    name: str
    revision: str
    tables: tuple[Rows, ...]


class VersionCopy(_Frozen):
    """A version of a model: its ``model.json``, which names its files by their hashes."""

    name: str
    version: str
    manifest: Piece
    files: tuple[Piece, ...]


class ContentCopy(_Frozen):
    """A file of a tenant's data sets."""

    tenant: str
    piece: Piece


class FileCopy(_Frozen):
    """A file below one of the platform's folders."""

    root: str
    path: str
    mode: int
    piece: Piece


class Contents(_Frozen):
    """One backup."""

    format: Literal[1] = 1
    created: datetime
    databases: tuple[DatabaseCopy, ...]
    versions: tuple[VersionCopy, ...]
    aliases: dict[str, dict[str, str]]
    """Of each model's name: what its aliases name."""
    content: tuple[ContentCopy, ...]
    files: tuple[FileCopy, ...]

    def pieces(self) -> Iterator[tuple[str, Piece]]:
        """Everything there is, with a name for people."""
        for database in self.databases:
            for rows in database.tables:
                yield f"table {rows.table} of the {database.name} database", rows.piece
        for version in self.versions:
            yield f"model.json of {version.name}:{version.version}", version.manifest
            for piece in version.files:
                yield f"a file of {version.name}:{version.version}", piece
        for each in self.content:
            yield f"a file of tenant {each.tenant}'s data sets", each.piece
        for file in self.files:
            yield f"{file.root}/{file.path}", file.piece
