"""The cache of this machine within a limit: what was not used for the longest time leaves first.

Entries: a version of an object store, a repository of a hub, the derived data of a version, a file of a data
set. All of them can be had again, from where they came; derived data may need torch for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.store.disk import STAGING, locked
from services.common.upkeep.sizes import size_of

_PATTERNS = ("objects/*", "hub/models--*", "exports/*", "datasets/*/*/*")
_LOCK = ".trimming"
IN_USE_SECONDS = 600.0
"""After its last use an entry stays for so long: somebody may be about to read it."""


@dataclass(frozen=True)
class Entry:
    """One thing in the cache."""

    path: Path
    size_bytes: int
    used_at: float
    """Seconds since 1970."""


def used(path: Path) -> None:
    """Somebody uses an entry now. Nothing happens where that cannot be noted."""
    with contextlib.suppress(OSError):
        os.utime(path)


def entries(cache: Path) -> Sequence[Entry]:
    """Of the whole cache, the least recently used first."""
    return sorted(_entries(cache), key=lambda entry: entry.used_at)


def surplus(cache: Path, limit: int) -> Sequence[Entry]:
    """What has to leave for the cache to have at most ``limit`` bytes, as far as it is not in use.

    A limit of 0 is none.
    """
    if not limit:
        return []
    found = entries(cache)
    excess = sum(entry.size_bytes for entry in found) - limit
    leaves = []
    for entry in found:
        if excess <= 0 or entry.used_at > time.time() - IN_USE_SECONDS:
            break
        leaves.append(entry)
        excess -= entry.size_bytes
    return leaves


def trim(cache: Path, limit: int) -> int:
    """Make room, one process at a time; returns the bytes that are free now."""
    if not limit or not cache.is_dir():
        return 0
    with locked(cache / _LOCK):
        return sum(entry.size_bytes for entry in surplus(cache, limit) if evict(cache, entry))


def evict(cache: Path, entry: Entry) -> bool:
    """Remove an entry, by one rename; False when it was used meanwhile, or is gone already.

    Whoever has its files open reads on.
    """
    aside = cache / STAGING / uuid.uuid4().hex
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        if entry.path.stat().st_mtime > entry.used_at:
            return False
        entry.path.rename(aside)
    except FileNotFoundError:
        return False
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)
    return True


def _entries(cache: Path) -> Iterator[Entry]:
    for pattern in _PATTERNS:
        for path in cache.glob(pattern):
            if path.name == STAGING:
                continue
            with contextlib.suppress(FileNotFoundError):
                yield Entry(path, size_of(path), path.stat().st_mtime)
