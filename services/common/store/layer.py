"""What a store layer can do. Methods block; the store calls them in threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from services.common.errors import Code, Reason, ServiceError
from services.common.store.manifest import FileEntry, Manifest

Report = Callable[[int, int, str], None]
"""Takes (done, total, message) as a fetch goes on; bytes."""


class LayerAway(ServiceError):
    """UNAVAILABLE: the place does not answer."""

    def __init__(self, layer: str, error: Exception) -> None:
        """``error`` is what came of the attempt; it may name addresses."""
        super().__init__(
            Code.UNAVAILABLE,
            Reason.STORE_UNREACHABLE,
            f"store layer {layer!r} does not answer",
            retry_after=5.0,
            detail=str(error).strip().partition("\n")[0][:200],
        )


class Layer(Protocol):
    """One place that holds model versions and aliases. Every method raises LayerAway or OSError while it is
    away.
    """

    name: str
    writable: bool

    def versions(self) -> dict[str, tuple[str, ...]]:
        """The versions of every model."""

    def aliases(self, name: str) -> dict[str, str]:
        """What each alias of ``name`` points at; "" for one that was removed here."""

    def manifest(self, name: str, version: str) -> Manifest:
        """The manifest of a version that ``versions`` listed."""

    def folder(self, manifest: Manifest, report: Report) -> Path:
        """A local folder with the version's files; fetches them when the place is remote."""

    def read(self, manifest: Manifest, entry: FileEntry) -> Iterator[bytes]:
        """A file's bytes, unchecked, from where they lie: nothing is fetched into a folder."""

    def holds(self, name: str, version: str) -> bool:
        """Whether the version is in sight at this moment; asked of the place itself."""

    def forget(self, manifest: Manifest) -> bool:
        """Drop a damaged local copy, so that ``folder`` fetches anew; False where there is no other copy."""

    def publish(self, source: Path, manifest: Manifest) -> None:
        """Make the version appear, whole or not at all. The same content again is success."""

    def set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        """Point an alias at ``version`` ("" removes it); returns what it pointed at before.

        With ``expected`` not None: only if it points there now ("": nowhere); ABORTED otherwise.
        """


def alias_content(version: str) -> bytes:
    """What the file or object of an alias holds."""
    return json.dumps({"version": version}).encode()


def read_alias(content: bytes, where: str) -> str:
    """The version in an alias' content. Raises DATA_LOSS naming ``where``."""
    try:
        return str(json.loads(content)["version"])
    except (ValueError, TypeError, KeyError):
        message = f"{where} is no alias of the form {{'version': …}}"
        raise ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, message, resource=("file", where)) from None


def version_exists(manifest: Manifest) -> ServiceError:
    """ALREADY_EXISTS: versions are immutable."""
    return ServiceError(
        Code.ALREADY_EXISTS,
        Reason.VERSION_EXISTS,
        f"{manifest.name}:{manifest.version} exists with other content; a version never changes",
        resource=("model", f"{manifest.name}:{manifest.version}"),
    )


def alias_conflict(name: str, alias: str, expected: str, found: str) -> ServiceError:
    """ABORTED: somebody moved the alias in between."""
    return ServiceError(
        Code.ABORTED,
        Reason.ALIAS_CONFLICT,
        f"{name}@{alias} points at {found or 'nothing'}, not at {expected or 'nothing'}",
    )


def read_only(why: str) -> ServiceError:
    """FAILED_PRECONDITION: nothing can be written here."""
    return ServiceError(Code.FAILED_PRECONDITION, Reason.READ_ONLY_STORE, why)
