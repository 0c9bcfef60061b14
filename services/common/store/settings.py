"""Where a service's models come from; the same variables for every service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.settings import setting
from services.common.store.layer import Layer
from services.common.store.store import ModelStore, layers_of, open_store

_SHIPPED = Path(__file__).parents[3] / "models"


@dataclass(frozen=True)
class StoreSettings:
    """The layers of the store, its cache, and how much of it may be in memory."""

    shipped: Path = setting(_SHIPPED, env="PEQUOD_MODELS", help="Folder of the shipped models, read-only.")
    user: str = setting(
        "var/models",
        env="PEQUOD_STORE",
        help="The user's models: a folder, or a URL such as s3://bucket/prefix.",
    )
    cache: Path = setting(
        Path("var/cache"), env="PEQUOD_CACHE", help="Folder for fetched and derived files; may be emptied."
    )
    cache_bytes: int = setting(
        0,
        env="PEQUOD_CACHE_BYTES",
        help="Bytes that the cache may take; what was not used for longest leaves first. 0: no limit.",
        minimum=0,
    )
    file_roots: tuple[Path, ...] = setting(
        (),
        env="PEQUOD_FILE_ROOTS",
        help="Folders that file: references may name, comma separated.",
    )
    memory_bytes: int = setting(
        4 * 2**30,
        env="PEQUOD_MEMORY_BUDGET",
        help="Bytes of models that one service keeps in memory; idle ones leave first.",
        minimum=1,
    )
    load_wait: float = setting(
        1.0,
        env="PEQUOD_LOAD_WAIT",
        help="Seconds a request waits for its model to load before it is told LOADING.",
        minimum=0,
        maximum=60,
    )

    def open(self) -> ModelStore:
        """The store these settings describe."""
        return open_store(self.shipped, self.user, self.cache, self.file_roots, self.cache_bytes)

    def layers(self) -> Sequence[Layer]:
        """Its layers, the user's last, for whoever keeps them in order."""
        return layers_of(self.shipped, self.user, self.cache)
