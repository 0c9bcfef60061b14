"""A folder's garbage: versions move aside by one rename, then go."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from services.common.store.disk import STAGING
from services.common.store.garbage.bins import REMOVED, UNUSED, Key, Leftover
from services.common.store.manifest import MANIFEST_NAME
from services.common.upkeep.errors import UpkeepError
from services.common.upkeep.sizes import changed_at, size_of

_LOCK = ".collecting"


class DiskBin:
    """Of a ``DiskLayer`` at ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """By a lock between processes, which ends with them."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UpkeepError(f"another collection is under way in {self._root}") from None
            yield

    def published_at(self, key: Key) -> float:
        """When its manifest was written: last, and just before the version appeared."""
        return (self._root.joinpath(*key) / MANIFEST_NAME).stat().st_mtime

    def marks(self) -> Mapping[Key, float]:
        """A mark is as old as its file."""
        return {_key(file): file.stat().st_mtime for file in (self._root / UNUSED).glob("*/*")}

    def mark(self, key: Key) -> None:
        """An empty file; one that is there stays."""
        file = self._root.joinpath(UNUSED, *key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=True)

    def unmark(self, key: Key) -> None:
        """Nothing happens without a mark."""
        file = self._root.joinpath(UNUSED, *key)
        file.unlink(missing_ok=True)
        _remove_if_empty(file.parent)

    def hide(self, key: Key) -> bool:
        """One rename."""
        aside = self._root.joinpath(REMOVED, *key)
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._root.joinpath(*key).rename(aside)
        except FileNotFoundError:
            return False
        return True

    def hidden(self) -> Sequence[Key]:
        """Folders that were moved aside."""
        return [_key(folder) for folder in (self._root / REMOVED).glob("*/*")]

    def bring_back(self, key: Key) -> None:
        """One rename; what somebody published there meanwhile stays, and the hidden one goes."""
        place = self._root.joinpath(*key)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._root.joinpath(REMOVED, *key).rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            self.drop(key)

    def drop(self, key: Key) -> None:
        """Remove the folder, and those of its name where they are empty."""
        aside = self._root.joinpath(REMOVED, *key)
        shutil.rmtree(aside)
        _remove_if_empty(aside.parent)

    def leftovers(self) -> Sequence[Leftover]:
        """Folders of writers that never moved theirs to where it belongs."""
        found = []
        for folder in (self._root / STAGING).glob("*"):
            with contextlib.suppress(FileNotFoundError):  # it was moved there just now
                found.append(Leftover(folder.name, size_of(folder), changed_at(folder)))
        return found

    def drop_leftover(self, leftover: Leftover) -> bool:
        """Remove the folder."""
        folder = self._root / STAGING / leftover.where
        if not folder.is_dir() or changed_at(folder) > leftover.changed_at:
            return False
        shutil.rmtree(folder)
        return True


def _key(path: Path) -> Key:
    return path.parent.name, path.name


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
