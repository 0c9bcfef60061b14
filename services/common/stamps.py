"""Whether a file is another one than before, without reading it; files that are read again when they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

Stamp = tuple[int, int, int] | None
T = TypeVar("T")


def stamp_of(path: Path | None) -> Stamp:
    """Changes when the file does, also where it is a link to a mounted Secret; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Watched(Generic[T]):
    """What some files say, read again when one of them changes. Files that do not fit together, as halfway
    through a renewal, leave in force what was said before."""

    def __init__(
        self,
        files: Sequence[Path | None],
        read: Callable[[], T],
        *,
        told: str,
        refused: str,
        logger: logging.Logger,
    ) -> None:
        """Reads them: raises what ``read`` does, OSError or ValueError, where they cannot be used.

        ``told``, ``refused``: messages of the log when they were, or could not be, read again.
        """
        self._files, self._read, self._logger = files, read, logger
        self._told, self._refused = told, refused
        self._stamps = self._stamped()  # before they are read: what changes meanwhile is read once more
        self._said = read()

    def newest(self) -> T:
        """The same object until the files change."""
        stamps = self._stamped()
        if stamps != self._stamps:
            self._stamps = stamps  # the same files are not tried again
            self._read_again()
        return self._said

    def _read_again(self) -> None:
        try:
            self._said = self._read()
        except (OSError, ValueError) as error:
            self._logger.error(self._refused, extra={"error": str(error)})
            return
        named = [str(file) for file in self._files if file is not None]
        self._logger.info(self._told, extra={"files": named})

    def _stamped(self) -> list[Stamp]:
        return [stamp_of(file) for file in self._files]
