"""The garbage of a store, by the place that it is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.store.disk import DiskLayer
from services.common.store.garbage.bins import Bin
from services.common.store.garbage.cached import CacheGarbage
from services.common.store.garbage.disk import DiskBin
from services.common.store.garbage.exports import ExportGarbage
from services.common.store.garbage.leftovers import LeftoverGarbage
from services.common.store.garbage.objects import ObjectBin
from services.common.store.garbage.versions import Needs, Rules, VersionGarbage
from services.common.store.layer import Layer
from services.common.store.objects import ObjectLayer
from services.common.store.settings import StoreSettings
from services.common.upkeep.collecting import Source

QUIET_SECONDS = 24 * 3600.0
"""For which nobody must have written to what a writer left, or to derived data without a version."""


@dataclass(frozen=True)
class StoreGarbage:
    """Versions apart from the rest: looking for them asks everybody who may need one."""

    versions: Source
    others: Sequence[Source]


def garbage_of(settings: StoreSettings, needs: Needs, rules: Rules) -> StoreGarbage:
    """The sources for the store that ``settings`` describe."""
    layers = settings.layers()
    mine = bin_of(layers[-1])
    return StoreGarbage(
        VersionGarbage(layers, mine, needs, rules),
        (
            LeftoverGarbage(mine, QUIET_SECONDS),
            ExportGarbage(layers, settings.cache, QUIET_SECONDS),
            CacheGarbage(settings.cache, settings.cache_bytes),
        ),
    )


def bin_of(layer: Layer) -> Bin:
    """What collects the garbage of a writable layer."""
    if isinstance(layer, ObjectLayer):
        return ObjectBin(layer)
    assert isinstance(layer, DiskLayer), "the only other layer that is written to"
    return DiskBin(layer.root)
