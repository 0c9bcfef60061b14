"""Puts a backup back: reads it whole, then writes files, then databases, which speak of them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.common.store.layer import Layer
from services.common.store.manifest import Manifest, read_manifest_of
from services.common.store.reference import check_path
from services.common.upkeep.backup.archive import Archive
from services.common.upkeep.backup.contents import ContentCopy, Contents, FileCopy, Piece, VersionCopy
from services.common.upkeep.backup.databases import check_known, check_room, load_database
from services.common.upkeep.backup.parts import Blobs, Folder, Parts
from services.common.upkeep.backup.saving import Told
from services.common.upkeep.errors import UpkeepError


def verify(contents: Contents, archive: Archive) -> int:
    """Read every byte; returns how many there are. Raises UpkeepError naming a file that is damaged."""
    total = 0
    for piece, what in {piece: what for what, piece in contents.pieces()}.items():
        try:
            for chunk in archive.read(piece):
                total += len(chunk)
        except UpkeepError as error:
            raise UpkeepError(f"{error} ({what})") from None
    return total


def restore(contents: Contents, archive: Archive, parts: Parts, replace: bool, told: Told) -> None:
    """Fill ``parts``. Raises UpkeepError, before anything is written, for a damaged backup or a full target.

    ``replace``: databases are replaced, files written over; models and data sets are added to what is there.
    """
    _check_parts(contents, parts)
    told("reading the backup")
    verify(contents, archive)
    if not replace:
        _check_empty(parts)
    told("data sets")
    if parts.blobs:
        _put_content(contents.content, parts.blobs.blobs, archive)
    told("models")
    if parts.layers:
        _put_models(contents, parts.layers[-1], archive)
    told("files")
    _put_files(contents.files, parts.folders, archive)
    told("databases")
    copies = {copy.name: copy for copy in contents.databases}
    for place in parts.databases:
        if place.name in copies:
            load_database(place, copies[place.name], archive, replace)


def _check_parts(contents: Contents, parts: Parts) -> None:
    """That everything in the backup has a place here."""
    places = {place.name: place for place in parts.databases}
    for copy in contents.databases:
        if copy.name not in places:
            raise UpkeepError(f"the backup has a {copy.name} database, and the settings name none")
        check_known(places[copy.name], copy)
    roots = {folder.name for folder in parts.folders}
    if others := sorted({file.root for file in contents.files} - roots):
        raise UpkeepError(
            f"the backup has files of {', '.join(others)}, and the settings name no folder for them"
        )


def _check_empty(parts: Parts) -> None:
    advice = "--replace restores all the same"
    for place in parts.databases:
        check_room(place)
    if parts.layers and (names := sorted(parts.layers[-1].versions())):
        raise UpkeepError(f"the store holds models already, {names[0]} for one; {advice}")
    if parts.blobs and next(parts.blobs.blobs.kept(), None) is not None:
        raise UpkeepError(f"there are files of data sets already; {advice}")
    for folder in parts.folders:
        if found := next(iter(sorted(folder.wanted())), None):
            raise UpkeepError(f"{found} is there already; {advice}")


def _put_content(copies: Iterable[ContentCopy], blobs: Blobs, archive: Archive) -> None:
    hashes: dict[str, set[str]] = {}
    for copy in copies:
        with _as_file(archive, copy.piece) as file:
            blobs.put(copy.tenant, copy.piece.sha256, file)
        hashes.setdefault(copy.tenant, set()).add(copy.piece.sha256)
    for tenant, found in hashes.items():
        blobs.settle(tenant, found)


def _put_models(contents: Contents, layer: Layer, archive: Archive) -> None:
    """Versions, then the aliases that name them."""
    for copy in contents.versions:
        _publish(copy, layer, archive)
    for name, aliases in contents.aliases.items():
        for alias, version in aliases.items():
            layer.set_alias(name, alias, version, None)


def _put_files(files: Iterable[FileCopy], folders: Iterable[Folder], archive: Archive) -> None:
    roots = {folder.name: folder.path for folder in folders}
    for file in files:
        _write(file, roots[file.root], archive)


def _publish(copy: VersionCopy, layer: Layer, archive: Archive) -> None:
    """As a recipe does; a version that is there with the same content stays."""
    text = b"".join(archive.read(copy.manifest))
    manifest = read_manifest_of(copy.name, copy.version, text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, piece in _paths(manifest, copy):
            target = folder / check_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_to(target, archive.read(piece))
        layer.publish(folder, manifest)


def _paths(manifest: Manifest, copy: VersionCopy) -> Iterator[tuple[str, Piece]]:
    return ((entry.path, piece) for entry, piece in zip(manifest.files, copy.files, strict=True))


def _write(file: FileCopy, root: Path, archive: Archive) -> None:
    """Whole or not at all, for whom it was before."""
    target = root / check_path(file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.restored")
    _write_to(fresh, archive.read(file.piece), file.mode)
    fresh.replace(target)


@contextlib.contextmanager
def _as_file(archive: Archive, piece: Piece) -> Iterator[Path]:
    """A piece in a file that is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / piece.sha256
        _write_to(path, archive.read(piece))
        yield path


def _write_to(path: Path, chunks: Iterable[bytes], mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
