"""Unpacks zip archives that callers send: bombs, tricks with paths and archives in archives are refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from services.finetune.datasets.checking.items import Advance, Findings, Item, unsafe_path
from services.finetune.datasets.dataset import MOST_FILES, Problem, Progress

_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
_MOST_DIRECTORY = 16 * 2**20
"""Bytes of an archive's table of contents: it is read into memory whole."""
_BOMB_RATIO = 200
_BOMB_BYTES = 64 * 2**20
"""An archive that unpacks to more than this and to so many times its size is a bomb."""
_CHUNK = 1 << 20
_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
"""Left behind by file managers; not worth a word."""
_LINK = 0o120000
_TYPE = 0o170000
_ENCRYPTED = 0x1


class _Bomb(Exception):
    """What is wrong with the archive as a whole."""


def is_archive(file: Path) -> bool:
    """Whether ``file`` begins as zip archives do."""
    with file.open("rb") as opened:
        return opened.read(4) in _BEGINS


class Unpacker:
    """Unpacks archives into ``folder``; ``reserve`` is asked for the bytes that one needs, and may raise."""

    def __init__(
        self, folder: Path, findings: Findings, reserve: Callable[[int], None], advance: Advance
    ) -> None:
        self._folder = folder
        self._findings = findings
        self._reserve = reserve
        self._advance = advance
        self._count = 0

    def unpack(self, archive: Item) -> list[Item]:
        """The files in ``archive``, below its path without ".zip"; what is wrong goes to the findings."""
        try:
            with archive.file.open("rb") as file, zipfile.ZipFile(cast(BinaryIO, _Guarded(file))) as opened:
                members = self._members(archive, opened)
                self._reserve(sum(member.file_size for member in members))
                found = (self._member(archive, opened, member) for member in members)
                return [item for item in found if item is not None]
        except _Bomb as bomb:
            self._findings.skip(archive.path, Problem.ARCHIVE_BOMB, str(bomb))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            self._findings.skip(archive.path, Problem.CORRUPT, f"is no whole zip archive: {error}")
        return []

    def _members(self, archive: Item, opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        """The files among its members, by what the table of contents says."""
        # Not is_dir(), which takes it that every entry has a name.
        files = (each for each in opened.infolist() if not each.filename.endswith("/"))
        members = [each for each in files if not _litter(each.filename)]
        if len(members) > MOST_FILES:
            raise _Bomb(f"holds {len(members):,} files, at most {MOST_FILES:,}")
        total = sum(member.file_size for member in members)
        if total > _BOMB_BYTES and total > _BOMB_RATIO * archive.size_bytes:
            raise _Bomb(f"unpacks {archive.size_bytes:,} bytes to {total:,}")
        return members

    def _member(self, archive: Item, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Item | None:
        path = f"{archive.path.removesuffix('.zip')}/{member.filename}"
        if refusal := _refusal(member, path):
            self._findings.skip(path[:1000], *refusal)
            return None
        target = self._folder / f"{self._count:06d}"
        self._count += 1
        self._advance(Progress(completed=self._count, message="unpacking"))
        try:
            _extract(opened, member, target)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
            target.unlink(missing_ok=True)
            self._findings.skip(path, Problem.CORRUPT, f"cannot be unpacked: {error}")
            return None
        if is_archive(target):
            target.unlink()
            message = "is an archive in an archive; those are not unpacked"
            self._findings.skip(path, Problem.UNSUPPORTED_FORMAT, message)
            return None
        return Item(path, target, member.file_size)


class _Guarded:
    """A file whose reader cannot be made to read a table of contents of any size, or before the beginning."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Raises BadZipFile for a place that no file has: OSError stands for faults of the disk."""
        if whence == 0 and not 0 <= offset < 2**63:
            raise zipfile.BadZipFile(f"an entry is said to begin at byte {offset}")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """At most ``_MOST_DIRECTORY`` bytes in one piece. Raises _Bomb beyond."""
        if size > _MOST_DIRECTORY:
            raise _Bomb(f"has a table of contents of {size:,} bytes, at most {_MOST_DIRECTORY:,}")
        return self._file.read(size)

    def close(self) -> None:
        """Its owner does."""


def _refusal(member: zipfile.ZipInfo, path: str) -> tuple[Problem, str] | None:
    """Why a member is left out by what its entry says."""
    # As it stands in the archive: the library has made "/" of other separators and cut at NUL.
    if (why := unsafe_path(member.orig_filename) or unsafe_path(path)) != "":
        return Problem.UNSAFE_PATH, why
    if member.external_attr >> 16 & _TYPE == _LINK:
        return Problem.UNSAFE_PATH, "is a symbolic link"
    if member.flag_bits & _ENCRYPTED:
        return Problem.UNSUPPORTED_FORMAT, "is encrypted"
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return Problem.UNSUPPORTED_FORMAT, f"is compressed by method {member.compress_type}; deflate is read"
    return None


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write a member, no more of it than its entry says: another size raises BadZipFile."""
    written = 0
    with opened.open(member) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > member.file_size:
                break
            file.write(chunk)
    if written != member.file_size:
        raise zipfile.BadZipFile(f"it holds other than the {member.file_size:,} bytes that it says")


def _litter(path: str) -> bool:
    return any(part in _LITTER for part in path.split("/"))
