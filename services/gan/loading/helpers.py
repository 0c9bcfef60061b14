"""Loads the models of other services that this one uses by their graphs: upscalers and image embedders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.common.export import read_export
from services.common.export.exporter import StoreExporter
from services.common.pictures.arrays import Array
from services.common.pictures.reading import Pixels
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelVersion
from services.common.text_image.embedder import TextImageEmbedder, open_embedder
from services.common.upscaling.doubling import DoublingUpscaler
from services.gan.engine import Eyes, Upscaler
from services.gan.loading.loader import OpenGraph

_BYTES_PER_FILE_BYTE = 3.0
"""In memory: weights of 16 bits as 32, packed."""


class ClipEyes:
    """Implements ``services.gan.engine.Eyes``."""

    def __init__(self, name: str, embedder: TextImageEmbedder) -> None:
        self.name = name
        self.embedder = embedder

    def see(self, picture: Pixels) -> Array:
        """[dimensions] of length 1. Each alone: no picture's point depends on its company."""
        (vector,) = self.embedder.pictures([self.embedder.preprocessing.fit(picture)])
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def close(self) -> None:
        """Let go of the graphs."""
        self.embedder.close()


class UpscalerLoader:
    """From files to an upscaler."""

    kinds: frozenset[str] = frozenset({Kind.UPSCALER})

    def __init__(self, exporter: StoreExporter, open_graph: OpenGraph) -> None:
        self._exporter, self._open = exporter, open_graph

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        return int(_BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Upscaler:
        """The upscaler in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when there is none."""
        with load_failures(version):
            folder = self._exporter.export(version, path, "onnx", False, lambda *_: None).location
            (graph,) = read_export(folder).graphs.values()
            return DoublingUpscaler(version.name, self._open(folder / graph.file))

    def warm_up(self, model: Upscaler) -> None:
        """Enlarge once."""
        model.enlarge(np.zeros((32, 32, 3), np.uint8), 2)

    def close(self, model: Upscaler) -> None:
        """Let go of its graph."""
        model.close()


class EyesLoader:
    """From files to what sees pictures."""

    kinds: frozenset[str] = frozenset({Kind.TEXT_IMAGE_EMBEDDER})

    def __init__(self, exporter: StoreExporter, open_graph: OpenGraph) -> None:
        self._exporter, self._open = exporter, open_graph

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        return int(_BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Eyes:
        """The embedder in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when there is none."""
        with load_failures(version):
            folder = self._exporter.export(version, path, "onnx", False, lambda *_: None).location
            embedder = open_embedder(version.manifest.config, path, folder, self._open)
            return ClipEyes(str(version), embedder)

    def warm_up(self, model: Eyes) -> None:
        """See once."""
        model.see(np.zeros((32, 32, 3), np.uint8))

    def close(self, model: Eyes) -> None:
        """Let go of its graphs."""
        model.close()
