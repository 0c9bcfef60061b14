"""Data derived from a version (exports, indexes) in ``exports/<version digest>/<target>/``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.common.store.disk import move_in, staging
from services.common.store.manifest import FileEntry, describe_files, sha256_of

DERIVED_NAME = "derived.json"

Build = Callable[[Path], dict[str, Any]]
"""Writes files into the folder it is given; returns facts to keep beside them."""


def derived_folder(root: Path, digest: str, target: str) -> Path:
    """Where the derived data of a version with ``digest`` lies."""
    return root / "exports" / digest / target


def derive(root: Path, digest: str, target: str, build: Build, force: bool = False) -> Path:
    """The folder of derived data: a kept and intact one, or one built in staging and renamed."""
    folder = derived_folder(root, digest, target)
    if not force and is_intact(folder):
        return folder
    with staging(root) as staged:
        facts = build(staged)
        entries = [entry.model_dump() for entry in describe_files(staged)]
        (staged / DERIVED_NAME).write_text(json.dumps({"facts": facts, "files": entries}, indent=2) + "\n")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not move_in(staged, folder) and (force or not is_intact(folder)):
            with staging(root) as old:
                folder.rename(old / "replaced")
                move_in(staged, folder)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether ``folder`` holds derived data whose files have the sizes and hashes they were built with."""
    try:
        manifest = json.loads((folder / DERIVED_NAME).read_text())
        entries = [FileEntry.model_validate(entry) for entry in manifest["files"]]
        return all(_same(folder / entry.path, entry) for entry in entries)
    except (OSError, ValueError, KeyError):
        return False


def _same(file: Path, entry: FileEntry) -> bool:
    return file.stat().st_size == entry.size_bytes and sha256_of(file) == entry.sha256
