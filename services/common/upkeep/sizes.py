"""What lies in a folder: bytes, and when anything of it was last written."""

from __future__ import annotations

import contextlib
from pathlib import Path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as themselves."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if file.is_dir() and not file.is_symlink() else file.lstat().st_size
    return total


def changed_at(folder: Path) -> float:
    """Seconds since 1970 of the last write to the folder or anything below. Raises FileNotFoundError."""
    latest = folder.lstat().st_mtime
    for each in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            latest = max(latest, each.lstat().st_mtime)
    return latest
