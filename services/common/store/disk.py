"""A layer in a local folder: ``<root>/<name>/<version>/`` and ``<root>/<name>/@<alias>``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from services.common.errors import ServiceError
from services.common.store.layer import (
    LayerAway,
    Report,
    alias_conflict,
    alias_content,
    read_alias,
    read_only,
    version_exists,
)
from services.common.store.manifest import MANIFEST_NAME, FileEntry, Manifest, read_manifest_of
from services.common.store.reference import is_name, is_version

STAGING = ".staging"
CHUNK = 1 << 20
_STALE_SECONDS = 24 * 3600.0


class DiskLayer:
    """Versions and aliases under ``root``; safe against other processes doing the same."""

    def __init__(self, root: Path, name: str, writable: bool) -> None:
        self.root = root
        self.name = name
        self.writable = writable
        self._was_there = False

    def versions(self) -> dict[str, tuple[str, ...]]:
        """Every folder that holds a manifest."""
        if not self.root.is_dir():
            if self._was_there:
                raise OSError(f"{self.root} has gone")  # an unmounted disk is away, not empty
            return {}
        self._was_there = True
        found: dict[str, list[str]] = {}
        for path in self.root.glob(f"*/*/{MANIFEST_NAME}"):
            name, version = path.parts[-3:-1]
            if is_name(name) and is_version(version):
                found.setdefault(name, []).append(version)
        return {name: tuple(versions) for name, versions in found.items()}

    def aliases(self, name: str) -> dict[str, str]:
        """Every ``@alias`` file of the model."""
        files = (self.root / name).glob("@*")
        return {file.name[1:]: read_alias(file.read_bytes(), f"{name}/{file.name}") for file in files}

    def manifest(self, name: str, version: str) -> Manifest:
        """Read ``model.json``."""
        try:
            content = (self.root / name / version / MANIFEST_NAME).read_bytes()
        except OSError as error:
            raise LayerAway(self.name, error) from error
        return read_manifest_of(name, version, content)

    def folder(self, manifest: Manifest, report: Report) -> Path:
        """The version's own folder."""
        report(manifest.size_bytes, manifest.size_bytes, "on disk")
        return self.root / manifest.name / manifest.version

    def forget(self, manifest: Manifest) -> bool:
        """Its files are the only ones."""
        return False

    def publish(self, source: Path, manifest: Manifest) -> None:
        """Copy into staging, then rename: a folder renames whole, and never onto one that has content."""
        target = self.root / manifest.name / manifest.version
        with staging(self.root) as staged:
            for entry in manifest.files:
                _copy(source / entry.path, staged / entry.path)
            _write(staged / MANIFEST_NAME, manifest.to_json().encode())
            for folder in (staged, *(path for path in staged.rglob("*") if path.is_dir())):
                _sync_folder(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not move_in(staged, target) and not self._has(manifest):
                raise version_exists(manifest)

    def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Compare and write under the model's lock. Raises READ_ONLY_STORE where ``root`` is mounted so."""
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                return self._swap_alias(folder, alias, version, expected)
        except OSError as error:
            if error.errno == errno.EROFS:
                raise read_only(f"the {self.name} layer is mounted read-only here") from None
            raise

    def _swap_alias(self, folder: Path, alias: str, version: str, expected: str | None) -> str:
        before = self.aliases(folder.name).get(alias, "")
        if expected is not None and expected != before:
            raise alias_conflict(folder.name, alias, expected, before)
        fresh = folder / ".alias"  # one writer at a time, so a crashed one's is written over
        _write(fresh, alias_content(version))
        fresh.replace(folder / f"@{alias}")
        _sync_folder(folder)
        return before

    def holds(self, name: str, version: str) -> bool:
        """Whether the version is in sight now."""
        return (self.root / name / version / MANIFEST_NAME).is_file()

    def read(self, manifest: Manifest, entry: FileEntry) -> Iterator[bytes]:
        """The file's bytes."""
        with (self.root / manifest.name / manifest.version / entry.path).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def _has(self, manifest: Manifest) -> bool:
        try:
            return self.manifest(manifest.name, manifest.version).same_content(manifest)
        except (OSError, ServiceError):
            return False


@contextlib.contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A fresh folder on ``root``'s filesystem, gone afterwards; leftovers of crashed writers go too."""
    staged = root / STAGING / uuid.uuid4().hex
    staged.mkdir(parents=True)
    # By the clock that the others' times are of: this machine's may have jumped.
    now = staged.stat().st_mtime
    for leftover in staged.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if now - leftover.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def move_in(staged: Path, target: Path) -> bool:
    """Rename ``staged`` to ``target``; False, and nothing changed, when ``target`` is there already."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return False
        raise
    _sync_folder(target.parent)
    return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK)
        writing.flush()
        os.fsync(writing.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
