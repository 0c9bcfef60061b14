"""s3:// and gs:// - an object, or every object below a prefix, with the service's own credentials."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from services.common.errors import invalid
from services.common.store.objects import open_object_store
from services.finetune.datasets.importing.source import Got, SourceFailed, SourceFile

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class ObjectSource:
    """The endpoint is the operator's (AWS_ENDPOINT_URL and the like); callers only name bucket and key."""

    def __init__(self, uri: SplitResult) -> None:
        """Raises INVALID_ARGUMENT for what names no bucket."""
        if not _BUCKET.fullmatch(uri.netloc):
            raise invalid("uri", f"{uri.netloc[:80]!r} is no name of a bucket")
        self._bucket = f"{uri.scheme}://{uri.netloc}"
        self._key = unquote(uri.path).strip("/")

    def list(self) -> Sequence[SourceFile]:
        """The object of this key, or those below it."""
        try:
            store = self._store()
            found = [item for batch in obstore.list(store, prefix=self._key or None) for item in batch]
        except (BaseError, OSError) as error:
            raise SourceFailed(f"{self._bucket}/{self._key} cannot be read: {_first_line(error)}") from None
        sizes = {str(item["path"]): int(item["size"]) for item in found}
        if not sizes and self._key:
            sizes = self._single()
        return [
            SourceFile(self._relative(key), size, key)
            for key, size in sorted(sizes.items())
            if size or not key.endswith("/")
        ]

    def fetch(self, file: SourceFile, target: Path, got: Got) -> None:
        """Stream the object to disk."""
        done = 0
        try:
            with target.open("wb") as copy:
                for chunk in obstore.get(self._store(), file.place).stream():
                    done += len(chunk)
                    got(done)
                    copy.write(chunk)
        except (BaseError, OSError) as error:
            raise SourceFailed(f"{file.path} cannot be read: {_first_line(error)}") from None

    def _store(self) -> ObjectStore:
        return open_object_store(self._bucket)

    def _single(self) -> dict[str, int]:
        """A listing by prefix looks below a key, not at it."""
        try:
            return {self._key: int(obstore.head(self._store(), self._key)["size"])}
        except (BaseError, OSError) as error:
            message = f"{self._bucket}/{self._key} holds nothing to read: {_first_line(error)}"
            raise SourceFailed(message) from None

    def _relative(self, key: str) -> str:
        below = key.removeprefix(self._key).strip("/")
        return below or PurePosixPath(key).name


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
