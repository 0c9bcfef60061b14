"""Brings the files of a source into an arrival; goes on where a process that died left off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.common.room import room_for
from services.finetune.datasets.checking.items import Advance, unsafe_path
from services.finetune.datasets.dataset import MOST_FILES, Progress
from services.finetune.datasets.importing.source import Source, SourceFailed, SourceFile
from services.finetune.datasets.storage.arrivals import Arrival, ExpectedFile

_STEP = 64 * 2**20
"""Bytes of room that are asked for at a time while a size is not known before."""


Reserve = Callable[[int], None]
"""Sets aside room for so many bytes in all; raises RESOURCE_EXHAUSTED when they do not fit."""


def fetch_all(source: Source, folder: Path, reserve: Reserve, advance: Advance) -> Arrival:
    """Every file of ``source`` in ``folder``. Raises SourceFailed, or as ``reserve`` and ``advance``."""
    files = source.list()
    _check(files)
    known = sum(max(file.size_bytes, 0) for file in files)
    reserve(known)
    arrived = 0
    folder.mkdir(parents=True, exist_ok=True)
    expected = []
    for index, file in enumerate(files):
        target = Arrival(folder, ()).part(index)
        size = file.size_bytes
        if size < 0 or not target.exists() or target.stat().st_size != size:
            size = _fetch(source, file, target, _Meter(reserve, advance, arrived, known))
        arrived += size
        expected.append(ExpectedFile(file.path, size))
    return Arrival.create(folder, expected)


class _Meter:
    """Watches a file come: progress, and room for what is larger than was known."""

    def __init__(self, reserve: Reserve, advance: Advance, before: int, known: int) -> None:
        self._reserve = reserve
        self._advance = advance
        self._before = before
        self._known = known
        self._reserved = known

    def got(self, path: str, size: int, done: int) -> None:
        """``done`` bytes of a file of ``size`` have come."""
        if 0 <= size < done:
            raise SourceFailed(f"{path} grew while it was read")
        total = self._before + done
        if total > self._reserved:
            self._reserved = total + _STEP
            self._reserve(self._reserved)
        self._advance(Progress(completed=total, total=self._known, unit="bytes", message=path))


def _fetch(source: Source, file: SourceFile, target: Path, meter: _Meter) -> int:
    """Bytes that came; the file appears under its name only when it is whole."""
    part = target.with_name(f"{target.name}.part")
    with room_for(file.path):
        source.fetch(file, part, lambda done: meter.got(file.path, file.size_bytes, done))
    size = part.stat().st_size
    if 0 <= file.size_bytes != size:
        raise SourceFailed(f"{file.path} shrank while it was read")
    part.replace(target)
    return size


def _check(files: Sequence[SourceFile]) -> None:
    if not files:
        raise SourceFailed("there is no file to import")
    if len(files) > MOST_FILES:
        raise SourceFailed(f"there are {len(files):,} files, at most {MOST_FILES:,} can be imported")
    for file in files:
        if why := unsafe_path(file.path):
            raise SourceFailed(f"the path {file.path[:200]!r} {why}")
