"""Loads models: the manifest names kind and family, the family's file does the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.common import families as common
from services.common.export.exporter import StoreExporter
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelVersion
from services.diffusion import families
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.adapters.factors import read as read_adapter
from services.diffusion.engine import Model, Upscaler
from services.diffusion.loading.opening import Opening
from services.diffusion.pipelines.directory import memory_bytes
from services.diffusion.pipelines.placement import Placement

Loaded = Model | Upscaler | Adapter
"""What is kept in memory."""

PIPELINE = "diffusers"
"""The family of directories of diffusers' format."""
_FLOATS_PER_HALF = 2
"""Adapters are stored in 16 bits or more and held in 32."""


class ModelLoader:
    """What the residency manager asks of a service: from files to a model."""

    kinds: frozenset[str] = frozenset({Kind.DIFFUSION, Kind.UPSCALER, Kind.ADAPTER})

    def __init__(self, exporter: StoreExporter, placement: Placement, threads: int) -> None:
        """``exporter`` makes and keeps the graphs that models are run from."""
        self._exporter, self._placement, self._threads = exporter, placement, threads

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        manifest = version.manifest
        if manifest.kind == Kind.ADAPTER:
            return _FLOATS_PER_HALF * manifest.size_bytes
        if manifest.family == PIPELINE:
            return memory_bytes(path, self._placement.precision)
        family = common.load(families, manifest.family)
        return int(family.BYTES_PER_FILE_BYTE * manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Loaded:
        """What the files in ``path`` make. FAILED_PRECONDITION, LOAD_FAILED, when they make nothing."""
        with load_failures(version):
            if version.manifest.kind == Kind.ADAPTER:
                return read_adapter(str(version), version.manifest.digest, path, _from_kohya)
            exported = partial(self._exported, version, path)
            opening = Opening(version, path, exported, self._placement, self._threads)
            loaded: Loaded = common.load(families, version.manifest.family).load(opening)
            return loaded

    def _exported(self, version: ModelVersion, path: Path) -> Path:
        return self._exporter.export(version, path, "onnx", False, _silent).location

    def warm_up(self, model: Loaded) -> None:
        """Run it once, if loading did not. A model that cannot is not fit to serve: its error is raised."""
        if isinstance(model, Upscaler):
            model.enlarge(np.zeros((32, 32, 3), np.uint8), model.factors[0])

    def close(self, model: Loaded) -> None:
        """Let go of its graphs; what else there is goes with the last reference."""
        close = getattr(model, "close", None)
        if close is not None:
            close()


def _from_kohya(file: Path) -> dict[str, Any]:
    """Names of kohya's as diffusers converts them, which needs PyTorch."""
    from services.diffusion.pipelines.kohya import converted

    return converted(file)


def _silent(done: int, total: int, message: str) -> None:
    """Nobody watches."""
