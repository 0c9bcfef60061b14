"""Derived data whose version is gone from every layer."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.common.store.derived import DERIVED_NAME
from services.common.store.disk import STAGING
from services.common.store.layer import Layer
from services.common.store.reference import is_name
from services.common.upkeep.collecting import Item
from services.common.upkeep.sizes import changed_at, size_of


class ExportGarbage:
    """In the cache of this machine. What was made of models of hubs and folders stays: see ``cache.py``."""

    name = "exports"

    def __init__(self, layers: Sequence[Layer], cache: Path, seconds: float) -> None:
        """``seconds``: for which nothing must have been written there."""
        self._layers, self._root, self._staging = layers, cache / "exports", cache / STAGING
        self._seconds = seconds

    def find(self, is_real: bool) -> Sequence[Item]:
        """Folders of digests that no version has."""
        folders = [each for each in sorted(self._root.glob("*")) if each.is_dir()]
        if not folders:
            return []
        known = self._digests()
        return [self._item(each) for each in folders if each.name not in known and _is_of_store(each)]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """By one rename each, so that nobody reads half of it; where its version has come back it stays."""
        known = self._digests() if items else set()
        return [self._remove(item.key) if item.key.name not in known else False for item in items]

    def _remove(self, folder: Path) -> bool:
        self._staging.mkdir(parents=True, exist_ok=True)
        aside = self._staging / f"gone-{folder.name}"
        folder.rename(aside)
        shutil.rmtree(aside)
        return True

    def _item(self, folder: Path) -> Item:
        goes = changed_at(folder) + self._seconds
        return Item(
            kind="export",
            what=f"{_of(folder)} ({folder.name[:12]})",
            size_bytes=size_of(folder),
            why="the version that it was made of is gone",
            goes_at=datetime.fromtimestamp(goes, UTC).replace(microsecond=0),
            is_due=goes <= time.time(),
            key=folder,
        )

    def _digests(self) -> set[str]:
        """Of every version there is. Raises where a layer is away or a manifest cannot be read."""
        return {
            layer.manifest(name, version).digest
            for layer in self._layers
            for name, versions in layer.versions().items()
            for version in versions
        }


def _of(folder: Path) -> str:
    """What the data was made of, as it says itself; "" for what does not say."""
    for file in sorted(folder.glob(f"*/{DERIVED_NAME}")):
        try:
            return str(json.loads(file.read_text()).get("of", ""))
        except (OSError, ValueError):
            continue
    return ""


def _is_of_store(folder: Path) -> bool:
    """Whether it was made of a version of a layer: only those are known to be gone."""
    return is_name(_of(folder).partition(":")[0]) and not _of(folder).startswith(("hf:", "file:"))
