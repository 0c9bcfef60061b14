"""Data derived from a version (exports, indexes) in ``exports/<version digest>/<target>/``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.common.errors import ServiceError
from services.common.store.disk import locked, move_in, staging
from services.common.store.manifest import FileEntry, describe_files, sha256_of

DERIVED_NAME = "derived.json"

Build = Callable[[Path], dict[str, Any]]
"""Writes files into the folder it is given; returns facts to keep beside them."""

Derive = Callable[[str, Build], Path]
"""Data derived from one version, by the name of what it is; built when it is not kept yet."""


def derived_folder(root: Path, digest: str, target: str) -> Path:
    """Where the derived data of a version with ``digest`` lies."""
    return root / "exports" / digest / target


def derive(
    root: Path,
    digest: str,
    target: str,
    build: Build,
    force: bool = False,
    kept: Sequence[Path] = (),
    of: str = "",
) -> Path:
    """The folder of derived data: a kept and intact one, or one built in staging and renamed.

    ``kept`` are other roots that may hold it, never written to. ``of``: the version's name, noted for those
    who tidy up. Whoever comes while another thread or
    process builds the same waits for that one.
    """
    for other in () if force else kept:
        if is_intact(found := derived_folder(other, digest, target)):
            return found
    folder = derived_folder(root, digest, target)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{target}.lock"):
        if force or not is_intact(folder):
            _build(root, folder, build, of)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether ``folder`` holds derived data whose files have the sizes and hashes they were built with."""
    try:
        manifest = json.loads((folder / DERIVED_NAME).read_text())
        entries = [FileEntry.model_validate(entry) for entry in manifest["files"]]
        return all(_same(folder / entry.path, entry) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError, ServiceError):
        return False


def facts_of(folder: Path) -> dict[str, Any]:
    """What the build of derived data noted beside it."""
    return dict(json.loads((folder / DERIVED_NAME).read_text())["facts"])


def _build(root: Path, folder: Path, build: Build, of: str) -> None:
    with staging(root) as staged:
        facts = build(staged)
        entries = [entry.model_dump() for entry in describe_files(staged)]
        (staged / DERIVED_NAME).write_text(
            json.dumps({"of": of, "facts": facts, "files": entries}, indent=2) + "\n"
        )
        if not move_in(staged, folder):
            # Aside first: a reader finds the old data, none for an instant, or the new; never a mixture.
            with staging(root) as aside:
                folder.rename(aside / "replaced")
                move_in(staged, folder)
                shutil.rmtree(aside / "replaced", ignore_errors=True)


def _same(file: Path, entry: FileEntry) -> bool:
    return file.stat().st_size == entry.size_bytes and sha256_of(file) == entry.sha256
