"""Room on the disks of folders that a process writes to: asked of the system, no file is looked at."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_FREE = ("pequod_disk_free_bytes", "Room on the disk of a folder that this process writes to.")
_SIZE = ("pequod_disk_size_bytes", "What is taken on the disk of that folder, and the room that is left.")

_logger = logging.getLogger("pequod.disks")


@dataclass(frozen=True)
class Room:
    """Of one disk, in bytes, as a process without special rights finds it."""

    free: int
    size: int
    """What is taken, and ``free``. What a file system keeps for root is in neither."""


def room_of(folder: Path) -> Room:
    """Of the disk that ``folder`` is on, or will be. Raises OSError where the disk does not answer."""
    found = os.statvfs(_there(folder))
    taken = found.f_blocks - found.f_bfree
    return Room(found.f_bavail * found.f_frsize, (taken + found.f_bavail) * found.f_frsize)


class DiskCollector(Collector):
    """Metrics for a registry: read when they are asked for, and then only."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """``folders``: by the names that they have in the metrics."""
        self._folders = dict(folders)
        self._failing: set[str] = set()
        self._asking = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, for which no disk has to be asked."""
        return iter(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Both gauges, with a sample for each folder whose disk answers.

        A disk that hangs (a network's, whose server is away) hangs the one scrape that asks it; those after
        it do without these figures.
        """
        free, size = _families()
        if self._asking.acquire(blocking=False):
            try:
                for name, folder in self._folders.items():
                    self._add(name, folder, free, size)
            finally:
                self._asking.release()
        yield free
        yield size

    def _add(self, name: str, folder: Path, free: GaugeMetricFamily, size: GaugeMetricFamily) -> None:
        try:
            room = room_of(folder)
        except OSError as error:
            if name not in self._failing:
                _logger.warning("disk not asked", extra={"folder": str(folder), "error": str(error)})
            self._failing.add(name)
            return
        self._failing.discard(name)
        free.add_metric([name], room.free)
        size.add_metric([name], room.size)


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return GaugeMetricFamily(*_FREE, labels=["folder"]), GaugeMetricFamily(*_SIZE, labels=["folder"])


def _there(folder: Path) -> Path:
    """The folder, or while there is none the nearest one above: it will be on that disk."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
