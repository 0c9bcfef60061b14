"""A layer in an object store (s3://, gs://, az://): files first, the manifest last and only if absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore, from_url

from services.common.room import is_full
from services.common.store.disk import move_in, staging
from services.common.store.garbage.bins import REMOVED
from services.common.store.layer import (
    LayerAway,
    Report,
    alias_conflict,
    alias_content,
    read_alias,
    version_exists,
)
from services.common.store.manifest import MANIFEST_NAME, FileEntry, Manifest, read_manifest_of
from services.common.store.reference import is_name, is_version
from services.common.store.safety import tampered

_CHUNK = 8 * 2**20
_ALIAS_TRIES = 5
_REMOVAL_SECONDS = 60.0
"""For which a removal of the version's leftovers is waited for."""
_POLL_SECONDS = 0.2


class ObjectLayer:
    """Versions and aliases under one URL; credentials and endpoint come from the usual variables (AWS_…).

    A file lies at ``<name>/<version>/files/<sha256>/<path>``, so that two writers racing for one
    version never overwrite each other's content; the manifest, written last and only if absent,
    says whose version it is.
    """

    writable = True

    def __init__(self, url: str, name: str, cache: Path) -> None:
        self.name = name
        self.objects = open_object_store(url)
        self._cache = cache / "objects"
        # Small objects by key, each with the ETag it had: what did not change is not fetched again.
        self._read: dict[str, tuple[str | None, bytes]] = {}
        self._etags: dict[str, str | None] = {}

    def versions(self) -> dict[str, tuple[str, ...]]:
        """Every key that ends in a manifest."""
        found: dict[str, list[str]] = {}
        for key in self._list(None):
            parts = key.split("/")
            if len(parts) == 3 and parts[2] == MANIFEST_NAME and is_name(parts[0]) and is_version(parts[1]):
                found.setdefault(parts[0], []).append(parts[1])
        return {name: tuple(versions) for name, versions in found.items()}

    def aliases(self, name: str) -> dict[str, str]:
        """Every ``@alias`` object of the model."""
        keys = [key for key in self._list(name) if key.count("/") == 1 and key.startswith(f"{name}/@")]
        return {key.partition("/@")[2]: read_alias(self._get(key), key) for key in keys}

    def manifest(self, name: str, version: str) -> Manifest:
        """Fetch ``model.json``, unless it is known."""
        return read_manifest_of(name, version, self._get(manifest_key(name, version)))

    def folder(self, manifest: Manifest, report: Report) -> Path:
        """The version in the local cache; fetched into staging, checked on the way, moved in whole."""
        target = self._cache / manifest.digest
        if target.is_dir():
            report(manifest.size_bytes, manifest.size_bytes, "in the cache")
            return target
        with staging(self._cache) as staged, self.answering():
            done = 0
            for entry in manifest.files:
                done = self._download(manifest, entry, staged / entry.path, done, report)
            (staged / MANIFEST_NAME).write_text(manifest.to_json())
            move_in(staged, target)
        return target

    def read(self, manifest: Manifest, entry: FileEntry) -> Iterator[bytes]:
        """The object's bytes."""
        with self.answering():
            for chunk in obstore.get(self.objects, _file_key(manifest, entry)).stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def holds(self, name: str, version: str) -> bool:
        """Whether its manifest is there."""
        return self.is_there(manifest_key(name, version))

    def forget(self, manifest: Manifest) -> bool:
        """Drop the copy in the cache; aside first, as others may be reading it."""
        with staging(self._cache) as aside, contextlib.suppress(FileNotFoundError):
            (self._cache / manifest.digest).rename(aside / "damaged")
        return True

    def publish(self, source: Path, manifest: Manifest) -> None:
        """Upload the files, then claim the version with its manifest."""
        key = manifest_key(manifest.name, manifest.version)
        for entry in manifest.files:
            self._upload(source, manifest, entry)
        try:
            with self.answering():
                obstore.put(self.objects, key, manifest.to_json().encode(), mode="create")
        except (AlreadyExistsError, PreconditionError):
            if not self.manifest(manifest.name, manifest.version).same_content(manifest):
                raise version_exists(manifest) from None
        self._settle(source, manifest)

    def _upload(self, source: Path, manifest: Manifest, entry: FileEntry) -> None:
        with self.answering(), (source / entry.path).open("rb") as file:
            obstore.put(self.objects, _file_key(manifest, entry), file)

    def _settle(self, source: Path, manifest: Manifest) -> None:
        """Put back what a garbage collection, which took the files for leftovers, has deleted meanwhile.

        It writes a record before it looks for a manifest and removes it after the files: where it saw none,
        the record is still there now, or all that it deletes is gone.
        """
        ends = time.monotonic() + _REMOVAL_SECONDS
        while self.is_there(f"{REMOVED}/{manifest.name}/{manifest.version}"):
            if time.monotonic() > ends:
                why = f"{manifest.name}:{manifest.version} is being removed; collect garbage, then publish"
                raise LayerAway(self.name, OSError(why))
            time.sleep(_POLL_SECONDS)
        there = set(self._list(f"{manifest.name}/{manifest.version}"))
        for entry in manifest.files:
            if _file_key(manifest, entry) not in there:
                self._upload(source, manifest, entry)

    def is_there(self, key: str) -> bool:
        """Whether there is such an object."""
        with self.answering():
            try:
                obstore.head(self.objects, key)
            except (NotFoundError, FileNotFoundError):
                return False
        return True

    def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Conditional put: create when absent, update while its ETag is the one that was read."""
        key = f"{name}/@{alias}"
        for _ in range(_ALIAS_TRIES):
            with self.answering():
                before, etag = self._current(key)
                if expected is not None and expected != before:
                    raise alias_conflict(name, alias, expected, before)
                with contextlib.suppress(AlreadyExistsError, PreconditionError, NotFoundError):
                    mode = "create" if etag is None else {"e_tag": etag}
                    obstore.put(self.objects, key, alias_content(version), mode=mode)  # type: ignore[arg-type]
                    return before
        raise alias_conflict(name, alias, expected or "", "a version that others keep moving")

    def _current(self, key: str) -> tuple[str, str | None]:
        """What an alias points at and its ETag; ("", None) when there is none."""
        try:
            reply = obstore.get(self.objects, key)
        except (NotFoundError, FileNotFoundError):
            return "", None
        return read_alias(bytes(reply.bytes()), key), reply.meta["e_tag"]

    def _list(self, prefix: str | None) -> list[str]:
        with self.answering():
            items = [item for batch in obstore.list(self.objects, prefix=prefix) for item in batch]
        self._etags.update((str(item["path"]), item["e_tag"]) for item in items)
        return [str(item["path"]) for item in items]

    def _get(self, key: str) -> bytes:
        known = self._read.get(key)
        if known and known[0] is not None and known[0] == self._etags.get(key):
            return known[1]
        with self.answering():
            reply = obstore.get(self.objects, key)
            content = bytes(reply.bytes())
        self._read[key] = (reply.meta["e_tag"], content)
        return content

    def _download(self, manifest: Manifest, entry: FileEntry, target: Path, done: int, report: Report) -> int:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as file:
            reply = obstore.get(self.objects, _file_key(manifest, entry))
            for chunk in reply.stream(min_chunk_size=_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                report(done, manifest.size_bytes, entry.path)
        if (found := digest.hexdigest()) != entry.sha256:
            what = f"in the {self.name} layer its sha256 is {found[:16]}…"
            raise tampered(manifest, entry.path, f"{what}, the manifest says {entry.sha256[:16]}…")
        return done

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Turn the client's errors into LayerAway, which everybody above understands.

        What was there already, and what a condition did not hold for, is an answer, and passes through.
        """
        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            if is_full(error):
                raise  # the disk here, not the place
            raise LayerAway(self.name, error) from error


def open_object_store(url: str) -> ObjectStore:
    """A client of the store at ``url``, with time limits that suit requests which wait for it."""
    if url.startswith(("memory:", "file:")):
        return from_url(url)
    # The client's own limits: 30 s for a whole download, and 3 minutes of retries while requests wait.
    # Options given here replace those of the environment, so plain HTTP, which an endpoint of one's own
    # may speak, is allowed here too.
    plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    return from_url(
        url,
        client_options={
            "connect_timeout": "5s",
            "read_timeout": "30s",
            "timeout": "12h",
            "allow_http": plain,
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    )


def manifest_key(name: str, version: str) -> str:
    """Where a version's manifest lies."""
    return f"{name}/{version}/{MANIFEST_NAME}"


def _file_key(manifest: Manifest, entry: FileEntry) -> str:
    return f"{manifest.name}/{manifest.version}/files/{entry.sha256}/{entry.path}"
