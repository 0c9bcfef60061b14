"""What the platform keeps, and where: what a backup copies, and what a restore fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.common.store.layer import Layer
from services.common.upkeep.backup.databases import Place


class Blobs(Protocol):
    """Bytes of data sets, by tenant and hash."""

    def fetch(self, tenant: str, sha256: str) -> Path:
        """A local file of them. Raises OSError when they are not there."""
        ...

    def put(self, tenant: str, sha256: str, source: Path) -> None:
        """Keep the bytes of ``source``."""
        ...

    def settle(self, tenant: str, hashes: Iterable[str]) -> None:
        """What was put there survives a loss of power from here on."""
        ...

    def kept(self) -> Iterator[Any]:
        """All that is there."""
        ...


@dataclass(frozen=True)
class BlobPart:
    """Data sets' bytes, and the table whose columns ``tenant`` and ``sha256`` say which are needed."""

    blobs: Blobs
    database: str
    table: str


@dataclass(frozen=True)
class Folder:
    """Files that are copied as they are."""

    name: str
    path: Path
    wanted: Callable[[], Iterable[Path]]
    """Those that are there now."""


@dataclass(frozen=True)
class Parts:
    """Of a platform, or of a half of it."""

    databases: Sequence[Place] = ()
    folders: Sequence[Folder] = ()
    layers: Sequence[Layer] = ()
    """Of the store. What is in the last one, the user's, is copied; it may name what is in the others."""
    blobs: BlobPart | None = None
