"""Makes a backup while the platform is used: first the databases, then what they speak of.

What the databases name is kept under its hash and never changes, so copying it later is as good as copying it
in the same moment. Should something have been deleted meanwhile, all is begun again: what was copied stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from services.common.errors import ServiceError
from services.common.store.layer import Layer
from services.common.store.manifest import Manifest
from services.common.upkeep.backup.archive import Archive
from services.common.upkeep.backup.contents import (
    ContentCopy,
    Contents,
    DatabaseCopy,
    FileCopy,
    Piece,
    VersionCopy,
)
from services.common.upkeep.backup.databases import rows_of, save_database
from services.common.upkeep.backup.parts import BlobPart, Folder, Parts
from services.common.upkeep.errors import UpkeepError

Told = Callable[[str], None]

_TRIES = 3
_READ = 1 << 20


class _Deleted(Exception):
    """Something that the databases spoke of is gone."""


def save(parts: Parts, archive: Archive, told: Told) -> tuple[str, Contents]:
    """A backup of ``parts``: its name, and what it holds. ``told`` hears what is being done.

    Raises UpkeepError, ServiceError where the store or a database is away.
    """
    for _ in range(_TRIES):
        try:
            contents = _saved(parts, archive, told)
        except _Deleted as error:
            told(f"{error} was deleted meanwhile: once more")
            continue
        return archive.finish(contents), contents
    raise UpkeepError("data sets are deleted faster than they can be copied; try again later")


def _saved(parts: Parts, archive: Archive, told: Told) -> Contents:
    created = datetime.now(UTC)
    told("databases")
    found = [save_database(place, archive) for place in parts.databases]
    databases = [copy for copy in found if copy is not None]
    told("data sets")
    content = _content(parts.blobs, databases, archive) if parts.blobs else []
    told("models")
    aliases, versions = _models(parts.layers, archive) if parts.layers else ({}, [])
    told("files")
    files = [file for folder in parts.folders for file in _files(folder, archive)]
    return Contents(
        created=created,
        databases=tuple(databases),
        versions=tuple(versions),
        aliases=aliases,
        content=tuple(content),
        files=tuple(files),
    )


def _content(part: BlobPart, databases: Sequence[DatabaseCopy], archive: Archive) -> list[ContentCopy]:
    needed = {
        (row["tenant"], row["sha256"], row["size_bytes"])
        for copy in databases
        if copy.name == part.database
        for row in rows_of(copy, part.table, archive)
    }
    found = []
    for tenant, sha256, size in sorted(needed):
        piece = Piece(sha256=sha256, size_bytes=size)
        if not archive.has(piece):
            try:
                archive.add(_bytes_of(part.blobs.fetch(tenant, sha256)), piece)
            except FileNotFoundError:
                raise _Deleted(f"a file of tenant {tenant}'s data sets") from None
            except UpkeepError as error:
                raise UpkeepError(f"a file of tenant {tenant}'s data sets is damaged: {error}") from None
        found.append(ContentCopy(tenant=tenant, piece=piece))
    return found


def _models(layers: Sequence[Layer], archive: Archive) -> tuple[dict[str, dict[str, str]], list[VersionCopy]]:
    """Of the last layer. Aliases first: what they name is published before they do."""
    layer = layers[-1]
    names = sorted({name for each in layers for name in each.versions()})
    aliases = {name: named for name in names if (named := layer.aliases(name))}
    copies = [
        copy
        for name, versions in sorted(layer.versions().items())
        for version in sorted(versions)
        if (copy := _version(layer, name, version, archive)) is not None
    ]
    return aliases, copies


def _version(layer: Layer, name: str, version: str, archive: Archive) -> VersionCopy | None:
    """None for one that was removed meanwhile."""
    try:
        manifest = layer.manifest(name, version)
        pieces = [_file_of(layer, manifest, number, archive) for number in range(len(manifest.files))]
    except (OSError, ServiceError):
        if layer.holds(name, version):
            raise
        return None
    text = archive.add([manifest.to_json().encode()])
    return VersionCopy(name=name, version=version, manifest=text, files=tuple(pieces))


def _file_of(layer: Layer, manifest: Manifest, number: int, archive: Archive) -> Piece:
    entry = manifest.files[number]
    piece = Piece(sha256=entry.sha256, size_bytes=entry.size_bytes)
    if not archive.has(piece):
        try:
            archive.add(layer.read(manifest, entry), piece)
        except UpkeepError as error:
            what = f"file {entry.path} of {manifest.name}:{manifest.version}"
            raise UpkeepError(f"{what} cannot be copied: {error}") from None
    return piece


def _files(folder: Folder, archive: Archive) -> Iterator[FileCopy]:
    for path in sorted(folder.wanted()):
        try:
            mode = path.stat().st_mode & 0o777
            piece = archive.add(_bytes_of(path))
        except FileNotFoundError:
            continue  # its job has moved on
        inside = path.relative_to(folder.path).as_posix()
        yield FileCopy(root=folder.name, path=inside, mode=mode, piece=piece)


def _bytes_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, _READ), b"")
