"""Files on their way in: a folder that says what is to come, and holds what has."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from services.common.errors import invalid
from services.common.room import room_for

_LIST = "files.json"
_LOCK = "lock"
_READ = 1 << 20


@dataclass(frozen=True)
class ExpectedFile:
    """A file that is to come; ``sha256`` may be empty: not said."""

    path: str
    size_bytes: int
    sha256: str = ""


class Arrival:
    """Part i lies in ``<folder>/<i>``. What was written survives the death of the process."""

    def __init__(self, folder: Path, files: Sequence[ExpectedFile]) -> None:
        self.folder = folder
        self.files = files
        self.size_bytes = sum(file.size_bytes for file in files)

    @classmethod
    def create(cls, folder: Path, files: Sequence[ExpectedFile]) -> Arrival:
        """A folder for ``files``; the list is there whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{_LIST}.new"
        with room_for("the list of files"), fresh.open("w") as file:
            json.dump([asdict(each) for each in files], file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / _LIST)
        return cls(folder, files)

    @classmethod
    def open(cls, folder: Path) -> Arrival | None:
        """The arrival in ``folder``; None when none was begun there."""
        try:
            content = json.loads((folder / _LIST).read_text())
        except FileNotFoundError:
            return None
        return cls(folder, [ExpectedFile(**each) for each in content])

    def part(self, index: int) -> Path:
        """Where file ``index`` lies, or will."""
        return self.folder / f"{index:06d}"

    def kept(self, index: int) -> int:
        """Bytes of file ``index`` that have come."""
        try:
            return self.part(index).stat().st_size
        except FileNotFoundError:
            return 0

    def position(self) -> tuple[int, int]:
        """The first file that is not whole and the bytes of it that have come."""
        for index, file in enumerate(self.files):
            kept = self.kept(index)
            if kept < file.size_bytes:
                return index, kept
        return len(self.files), 0

    def offset(self) -> int:
        """Bytes of all files joined that have come."""
        index, kept = self.position()
        return sum(file.size_bytes for file in self.files[:index]) + kept

    def forget(self) -> None:
        """Throw away what has come; the list stays."""
        for index in range(len(self.files)):
            self.part(index).unlink(missing_ok=True)

    def remove(self) -> None:
        """Throw away everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Receiver:
    """Writes bytes of the joined files where they belong, and checks the hash of each file that is whole."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self._index, kept = arrival.position()
        self.offset = arrival.offset()
        self._left = 0
        self._digest = hashlib.sha256()
        self._file: FileIO | None = None
        self._begin(kept)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises INVALID_ARGUMENT for more than were announced or for another hash.

        A file with another hash is thrown away, so that it can be sent anew.
        """
        rest = memoryview(chunk)
        while rest:
            if self._file is None:
                raise invalid("chunk", f"goes beyond the {self._arrival.size_bytes:,} bytes of all files")
            piece = rest[: self._left]
            self._append(self._file, piece)
            rest = rest[len(piece) :]
            if not self._left:
                self._end()

    def close(self) -> None:
        """Close the file that is open; what was written is kept."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self, kept: int) -> None:
        """Open the next file that is to get bytes; ``kept`` of it are there and go into its hash."""
        files = self._arrival.files
        while self._index < len(files) and not files[self._index].size_bytes:
            self._arrival.part(self._index).touch()
            self._index += 1
        if self._index == len(files):
            return
        part = self._arrival.part(self._index)
        self._digest = hashlib.sha256()
        self._file = part.open("ab", buffering=0)
        self._left = files[self._index].size_bytes - kept
        if kept:
            with part.open("rb") as there:
                while data := there.read(_READ):
                    self._digest.update(data)

    def _append(self, file: FileIO, piece: memoryview) -> None:
        written = 0
        with room_for("the upload"):
            while written < len(piece):
                count = file.write(piece[written:])
                self._digest.update(piece[written : written + count])
                written += count
                self._left -= count
                self.offset += count

    def _end(self) -> None:
        self.close()
        expected = self._arrival.files[self._index]
        found = self._digest.hexdigest()
        if expected.sha256 and found != expected.sha256:
            self._arrival.part(self._index).unlink()
            self.offset -= expected.size_bytes
            message = f"{expected.path!r} has sha256 {found}, not {expected.sha256}; send it again"
            raise invalid(f"start.files[{self._index}].sha256", message)
        self._index += 1
        self._begin(0)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Yields whether this process has ``folder`` for itself while the block runs; True for one at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # Who had it before may have removed the folder: then this lock holds nobody off.
        try:
            same = os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat())
        except FileNotFoundError:
            same = False
        yield same
