"""Bytes kept by their SHA-256, each once a tenant: in a folder, or in an object store."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import NotFoundError

from services.common.store.cache import used
from services.common.store.objects import open_object_store

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kept:
    """Bytes that are there."""

    tenant: str
    sha256: str
    size_bytes: int
    changed_at: float
    """Seconds since 1970."""


class Content(Protocol):
    """What may be asked of either; blocking, from any thread. ``sha256``: 64 lowercase digits."""

    def put(self, tenant: str, sha256: str, source: Path) -> None:
        """Keep the bytes of ``source``, which nobody changes any more; nothing to do when they are there."""
        ...

    def settle(self, tenant: str, hashes: Iterable[str]) -> None:
        """What was put there survives a loss of power from here on."""
        ...

    def fetch(self, tenant: str, sha256: str) -> Path:
        """A local file of these bytes, to read only. Raises OSError when they are not there."""
        ...

    def remove(self, tenant: str, sha256: str) -> None:
        """Forget them; nothing happens when they are not there."""
        ...

    def kept(self) -> Iterator[Kept]:
        """All that is there."""
        ...


def open_content(location: str, cache: Path) -> Content:
    """``location``: a folder, or a URL such as s3://bucket/prefix, read through the folder ``cache``."""
    if "://" in location:
        return ObjectContent(location, cache / "datasets")
    return DiskContent(Path(location))


class DiskContent:
    """``<root>/<tenant>/<first two digits>/<sha256>``; a file appears there whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, tenant: str, sha256: str, source: Path) -> None:
        """By a hard link where the filesystem is the same, so that nothing is copied."""
        target = _place(self._root, tenant, sha256)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        source.chmod(0o444)
        _sync(source)
        try:
            with contextlib.suppress(FileExistsError):
                target.hardlink_to(source)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            _copy_in(source, target)

    def settle(self, tenant: str, hashes: Iterable[str]) -> None:
        """The files are written through already; their names are now."""
        for folder in {_place(self._root, tenant, sha256).parent for sha256 in hashes}:
            _sync(folder)

    def fetch(self, tenant: str, sha256: str) -> Path:
        """The file itself."""
        path = _place(self._root, tenant, sha256)
        path.stat()
        return path

    def remove(self, tenant: str, sha256: str) -> None:
        """Unlink it."""
        _place(self._root, tenant, sha256).unlink(missing_ok=True)

    def kept(self) -> Iterator[Kept]:
        """Every file that a hash names."""
        for file in self._root.glob("*/??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                if _SHA256.fullmatch(file.name):
                    yield Kept(file.parts[-3], file.name, status.st_size, status.st_mtime)


class ObjectContent:
    """The same under a URL; credentials and endpoint come from the usual variables (AWS_…)."""

    def __init__(self, url: str, cache: Path) -> None:
        self._store = open_object_store(url)
        self._cache = cache

    def put(self, tenant: str, sha256: str, source: Path) -> None:
        """Upload it unless it is there."""
        key = _key(tenant, sha256)
        try:
            obstore.head(self._store, key)
        except (NotFoundError, FileNotFoundError):
            with source.open("rb") as file:
                obstore.put(self._store, key, file)

    def settle(self, tenant: str, hashes: Iterable[str]) -> None:
        """An object is there for good once it is there."""

    def fetch(self, tenant: str, sha256: str) -> Path:
        """From the cache, filled on demand and checked on the way."""
        target = _place(self._cache, tenant, sha256)
        if target.exists():
            used(target)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{sha256}.{uuid.uuid4().hex}")
        try:
            digest = hashlib.sha256()
            with part.open("wb") as file:
                for chunk in obstore.get(self._store, _key(tenant, sha256)).stream():
                    file.write(chunk)
                    digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise OSError(f"the object {sha256} holds other bytes")
            part.replace(target)
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from None
        finally:
            part.unlink(missing_ok=True)
        return target

    def remove(self, tenant: str, sha256: str) -> None:
        """Delete the object and what the cache holds of it."""
        with contextlib.suppress(NotFoundError, FileNotFoundError):
            obstore.delete(self._store, _key(tenant, sha256))
        _place(self._cache, tenant, sha256).unlink(missing_ok=True)

    def kept(self) -> Iterator[Kept]:
        """Every object that a hash names."""
        for batch in obstore.list(self._store):
            for each in batch:
                parts = str(each["path"]).split("/")
                if len(parts) == 3 and _SHA256.fullmatch(parts[2]):
                    yield Kept(parts[0], parts[2], each["size"], each["last_modified"].timestamp())


def _key(tenant: str, sha256: str) -> str:
    return f"{tenant}/{sha256[:2]}/{sha256}"


def _place(root: Path, tenant: str, sha256: str) -> Path:
    return root / tenant / sha256[:2] / sha256


def _copy_in(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(source, part)
        part.chmod(0o444)
        _sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
