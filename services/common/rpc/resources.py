"""What a service holds of its machine, beside what it may hold: models in memory, files on disk, GPUs."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pequod.model import v1 as pb
from services.common.gpu_share import gpu_bytes
from services.common.gpus import Gpus
from services.common.residency import ModelManager
from services.common.store.settings import StoreSettings

_KEPT_SECONDS = 10.0
"""A look at the disk holds so long: it goes through every file."""


@dataclass(frozen=True)
class _Disk:
    """A folder: its files, and the room that is left beside them. All in bytes."""

    name: str
    used: int
    free: int


class Resources:
    """Looks when it is asked, at the disk not more often than every ten seconds."""

    def __init__(self, managers: Sequence[ModelManager[Any]], models: StoreSettings) -> None:
        """``managers``: all of the service; each has a budget of its own."""
        self._managers = managers
        self._folders = {"cache": models.cache}
        if "://" not in models.user:
            self._folders["store"] = Path(models.user)
        self._gpus = Gpus()
        self._disks: Sequence[_Disk] = ()
        self._looked: float | None = None
        self._looking = asyncio.Lock()

    async def message(self, service: str) -> pb.Resources:
        """As ListModels tells it."""
        async with self._looking:
            now = time.monotonic()
            if self._looked is None or now - self._looked > _KEPT_SECONDS:
                self._disks = await asyncio.to_thread(_disks, self._folders)
                self._looked = now
        gpus = await asyncio.to_thread(self._gpus.read)
        return pb.Resources(
            service=service,
            memory_bytes=sum(each.memory_bytes for each in self._managers),
            memory_budget_bytes=sum(each.budget_bytes for each in self._managers),
            disks=[pb.DiskUse(name=e.name, used_bytes=e.used, free_bytes=e.free) for e in self._disks],
            gpus=[
                pb.GpuUse(
                    index=e.index,
                    used_bytes=e.used_bytes or 0,
                    total_bytes=e.total_bytes,
                    budget_bytes=gpu_bytes(),
                )
                for e in gpus
                if e.total_bytes is not None
            ],
        )


def _disks(folders: dict[str, Path]) -> Sequence[_Disk]:
    return [
        _Disk(name, _size_of(folder), shutil.disk_usage(_there(folder)).free)
        for name, folder in sorted(folders.items())
    ]


def _there(folder: Path) -> Path:
    """The folder, or while there is none the nearest one above: it will be on that disk."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())


def _size_of(folder: Path) -> int:
    """Bytes of all files below; what goes away meanwhile counts for nothing."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.lstat().st_size if file.is_file() else 0
    return total
