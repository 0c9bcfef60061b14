"""A layer in an object store (s3://, gs://, az://): files first, the manifest last and only if absent."""

from __future__ import annotations

import json
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import ObjectStore, from_url

from services.common.store.disk import move_in, staging
from services.common.store.layer import Report, alias_conflict, version_exists
from services.common.store.manifest import MANIFEST_NAME, Manifest, read_manifest

_CHUNK = 8 * 2**20
_ALIAS_TRIES = 5


class ObjectLayer:
    """Versions and aliases under one URL; credentials and endpoint come from the usual variables (AWS_…).

    A file lies at ``<name>/<version>/files/<sha256>/<path>``, so that two writers racing for one
    version never overwrite each other's content; the manifest, written last and only if absent,
    says whose version it is.
    """

    writable = True

    def __init__(self, url: str, name: str, cache: Path) -> None:
        self.name = name
        self._store: ObjectStore = from_url(url)
        self._cache = cache / "objects"

    def versions(self) -> dict[str, tuple[str, ...]]:
        """Every key that ends in a manifest."""
        found: dict[str, list[str]] = {}
        try:
            for batch in obstore.list(self._store):
                for item in batch:
                    parts = str(item["path"]).split("/")
                    if len(parts) == 3 and parts[2] == MANIFEST_NAME:
                        found.setdefault(parts[0], []).append(parts[1])
        except obstore.exceptions.BaseError as error:
            raise _away(self.name, error) from error
        return {name: tuple(versions) for name, versions in found.items()}

    def aliases(self, name: str) -> dict[str, str]:
        """Every ``@alias`` object of the model."""
        found = {}
        for batch in obstore.list(self._store, prefix=name):
            for item in batch:
                parts = str(item["path"]).split("/")
                if len(parts) == 2 and parts[1].startswith("@"):
                    found[parts[1][1:]] = self._read_alias(item["path"])[0]
        return found

    def manifest(self, name: str, version: str) -> Manifest:
        """Fetch ``model.json``."""
        key = f"{name}/{version}/{MANIFEST_NAME}"
        return read_manifest(bytes(obstore.get(self._store, key).bytes()), key)

    def folder(self, manifest: Manifest, report: Report) -> Path:
        """The version in the local cache; fetched into staging, checked by the caller, moved in whole."""
        target = self._cache / manifest.digest
        if target.is_dir():
            report(manifest.size_bytes, manifest.size_bytes, "in the cache")
            return target
        with staging(self._cache) as staged:
            done = 0
            for entry in manifest.files:
                key = _file_key(manifest, entry.sha256, entry.path)
                done = self._download(key, staged / entry.path, done, manifest.size_bytes, report)
            (staged / MANIFEST_NAME).write_text(manifest.to_json())
            move_in(staged, target)
        return target

    def publish(self, source: Path, manifest: Manifest) -> None:
        """Upload the files, then claim the version with its manifest."""
        for entry in manifest.files:
            with (source / entry.path).open("rb") as file:
                obstore.put(self._store, _file_key(manifest, entry.sha256, entry.path), file)
        key = f"{manifest.name}/{manifest.version}/{MANIFEST_NAME}"
        try:
            obstore.put(self._store, key, manifest.to_json().encode(), mode="create")
        except AlreadyExistsError:
            if self.manifest(manifest.name, manifest.version).digest != manifest.digest:
                raise version_exists(manifest) from None

    def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Conditional put: create when absent, update while its ETag is the one that was read."""
        key = f"{name}/@{alias}"
        content = json.dumps({"version": version}).encode()
        for _ in range(_ALIAS_TRIES):
            before, etag = self._read_alias(key)
            if expected is not None and expected != before:
                raise alias_conflict(name, alias, expected, before)
            try:
                if etag is None:
                    obstore.put(self._store, key, content, mode="create")
                else:
                    obstore.put(self._store, key, content, mode={"e_tag": etag})
            except (AlreadyExistsError, PreconditionError):
                continue
            return before
        raise alias_conflict(name, alias, expected or "", "a version that others keep moving")

    def _read_alias(self, key: str) -> tuple[str, str | None]:
        """What an alias points at and its ETag; ("", None) when there is none."""
        try:
            reply = obstore.get(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return "", None
        return str(json.loads(bytes(reply.bytes()))["version"]), reply.meta["e_tag"]

    def _download(self, key: str, target: Path, done: int, total: int, report: Report) -> int:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=_CHUNK):
                file.write(bytes(chunk))
                done += len(chunk)
                report(done, total, target.name)
        return done


def _file_key(manifest: Manifest, sha256: str, path: str) -> str:
    return f"{manifest.name}/{manifest.version}/files/{sha256}/{path}"


def _away(name: str, error: Exception) -> OSError:
    return OSError(f"store layer {name!r} does not answer: {error}")
