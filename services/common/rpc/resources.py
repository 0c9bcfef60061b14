"""What a service holds of its machine, beside what it may hold: models in memory, files on disk, GPUs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pequod.model import v1 as pb
from services.common.disks import room_of
from services.common.gpu_share import gpu_bytes
from services.common.gpus import Gpus
from services.common.residency import ModelManager
from services.common.store.settings import StoreSettings
from services.common.upkeep.sizes import size_of

_KEPT_SECONDS = 10.0
"""A look at the disk holds so long: it goes through every file."""


@dataclass(frozen=True)
class _Disk:
    """A folder: its files, and the room that is left beside them. All in bytes."""

    name: str
    used: int
    free: int
    limit: int
    """0: none but the disk's."""


@dataclass(frozen=True)
class Folder:
    """One to tell of beside store and cache."""

    path: Path
    limit: int = 0
    """Bytes that may lie in it; 0: as many as the disk has."""
    size: Callable[[Path], int] = size_of
    """Bytes of it; asked of folders that are there."""


class Resources:
    """Looks when it is asked, at the disk not more often than every ten seconds."""

    def __init__(
        self,
        managers: Sequence[ModelManager[Any]],
        models: StoreSettings,
        more: Mapping[str, Folder] | None = None,
        memory: Callable[[], int] = lambda: 0,
    ) -> None:
        """``managers``: all of the service; each has a budget of its own.

        ``more``: other folders, by name; ``memory``: bytes that it holds in other processes.
        """
        self._managers, self._memory = managers, memory
        self._folders = {"cache": Folder(models.cache, models.cache_bytes), **(more or {})}
        if "://" not in models.user:
            self._folders["store"] = Folder(Path(models.user))
        self._gpus = Gpus()
        self._disks: Sequence[_Disk] = ()
        self._looked: float | None = None
        self._looking = asyncio.Lock()

    @property
    def folders(self) -> dict[str, Path]:
        """By name, each path once: two names of one path have the same room."""
        named = {folder.path: name for name, folder in reversed(self._folders.items())}
        return {name: path for path, name in named.items()}

    async def message(self, service: str) -> pb.Resources:
        """As ListModels tells it."""
        async with self._looking:
            now = time.monotonic()
            if self._looked is None or now - self._looked > _KEPT_SECONDS:
                self._disks = await asyncio.to_thread(self._look)
                self._looked = now
        gpus = await asyncio.to_thread(self._gpus.read)
        return pb.Resources(
            service=service,
            memory_bytes=self._memory() + sum(each.memory_bytes for each in self._managers),
            memory_budget_bytes=sum(each.budget_bytes for each in self._managers),
            disks=[
                pb.DiskUse(name=e.name, used_bytes=e.used, free_bytes=e.free, limit_bytes=e.limit)
                for e in self._disks
            ],
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

    def _look(self) -> Sequence[_Disk]:
        return [
            _Disk(
                name,
                folder.size(folder.path) if folder.path.is_dir() else 0,
                room_of(folder.path).free,
                folder.limit,
            )
            for name, folder in sorted(self._folders.items())
        ]
