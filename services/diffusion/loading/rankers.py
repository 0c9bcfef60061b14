"""Loads text-image embedders, which rank images; for vectors the tokenizer service is asked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from services.common.export.exporter import StoreExporter
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelVersion
from services.diffusion.engine import Ranker
from services.diffusion.loading.opening import Opening
from services.diffusion.pipelines.placement import Placement
from services.diffusion.ranking import open_ranker

_BYTES_PER_FILE_BYTE = 3.0
"""In memory: weights of 16 bits as 32, packed."""


class RankerLoader:
    """What the residency manager asks of a service: from files to a ranker."""

    kinds: frozenset[str] = frozenset({Kind.TEXT_IMAGE_EMBEDDER})

    def __init__(self, exporter: StoreExporter, placement: Placement, threads: int) -> None:
        """``exporter`` makes and keeps the graphs that models are run from."""
        self._exporter, self._placement, self._threads = exporter, placement, threads

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        return int(_BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Ranker:
        """The ranker in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when there is none."""
        with load_failures(version):
            exported = partial(self._exported, version, path)
            return open_ranker(Opening(version, path, exported, self._placement, self._threads))

    def _exported(self, version: ModelVersion, path: Path) -> Path:
        return self._exporter.export(version, path, "onnx", False, lambda *_: None).location

    def warm_up(self, model: Ranker) -> None:
        """Rank once."""
        model.scores("a", [np.zeros((32, 32, 3), np.uint8)])

    def close(self, model: Ranker) -> None:
        """Let go of its graphs."""
        model.close()
