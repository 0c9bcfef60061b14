"""From an encoder's files to an engine: its graphs are exported once, checked against eager, and kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.common import families
from services.common.export import read_export
from services.common.export.exporter import StoreExporter
from services.common.runtimes import Runtime, open_runtime
from services.common.store import Kind, ModelStore, ModelVersion
from services.common.store.derived import facts_of
from services.common.text_image.embedder import check_tokenizer, open_embedder
from services.tokenizer import families as own
from services.tokenizer.encoders.directory import EncoderConfig, read_encoder
from services.tokenizer.encoders.encoder import CrossEncoder, Encoder, Graphs
from services.tokenizer.encoders.family import EncoderFamily
from services.tokenizer.encoders.reading import Reader
from services.tokenizer.encoders.text_image import TextImageEncoder
from services.tokenizer.engine import Precision
from services.tokenizer.families.tokenizer_json import open_tokenizer

ENCODERS = frozenset({Kind.TEXT_EMBEDDER, Kind.RERANKER, Kind.TEXT_IMAGE_EMBEDDER})

_LEAST_COSINE = 0.97
"""An 8-bit graph whose vectors are further from the 32-bit ones than this is not used."""

_logger = logging.getLogger("pequod.tokenizer")


@dataclass(frozen=True)
class Device:
    """Where encoders run, and with how many threads."""

    name: str
    """"auto", "cpu" or "cuda"."""
    threads: int

    @property
    def providers(self) -> tuple[str, ...] | None:
        """What to demand of a runtime; None leaves it to the runtime."""
        return None if self.name == "auto" else (self.name,)


class EncoderOpener:
    """Opens encoders, cross-encoders and text-image embedders of every family."""

    def __init__(self, store: ModelStore, exporter: StoreExporter, device: Device) -> None:
        """``store`` and ``exporter`` keep the graphs under the version's digest."""
        self._store = store
        self._exporter = exporter
        self._device = device
        self._compute = threading.Lock()

    def open(self, version: ModelVersion, path: Path) -> Encoder | CrossEncoder | TextImageEncoder:
        """The engine of the version in ``path``. Raises ValueError or KeyError when the files make none."""
        manifest = version.manifest
        if manifest.kind == Kind.TEXT_IMAGE_EMBEDDER:
            return self._open_text_image(version, path)
        config_json: Mapping[str, Any] = manifest.config
        family = families.load(own, manifest.family).FAMILY
        assert isinstance(family, EncoderFamily), "kinds of encoders have encoder families"
        tokenizer = open_tokenizer(path)
        config = read_encoder(config_json, path, family.positions(config_json))
        reader = Reader(tokenizer, config, int(config_json["vocab_size"]))
        _check_vocabulary(tokenizer.get_vocab_size(), int(config_json["vocab_size"]))
        if manifest.kind == Kind.RERANKER and len(config_json.get("id2label") or ("", "")) != 1:
            raise ValueError("a reranker gives one score; this model has several labels")
        graphs = Graphs(self.graphs(version, path), self._compute)
        engine = CrossEncoder if manifest.kind == Kind.RERANKER else Encoder
        return engine(version.name, config, reader, graphs)

    def derive(self, version: ModelVersion, path: Path) -> None:
        """Make what the version is served from and is not kept yet."""
        if version.manifest.kind == Kind.TEXT_IMAGE_EMBEDDER:
            self._exported(version, path)
        else:
            self.graphs(version, path)

    def graphs(self, version: ModelVersion, path: Path) -> dict[Precision, Callable[[], Runtime]]:
        """How to open each graph of the version; makes those that are not kept yet.

        8 bits come first where they are near enough: that graph runs on the CPU only.
        """
        exported = self._exported(version, path)
        source = exported / next(iter(read_export(exported).graphs.values())).file
        threads, providers = self._device.threads, self._device.providers
        openers = {Precision.FP32: partial(open_runtime, source, threads=threads, providers=providers)}
        if self._device.name == "cuda" or (self._device.name == "auto" and _has_cuda()):
            return dict(openers)
        reduced = self._store.derive_now(version, "onnx-int8", partial(_reduce, source, _vocabulary(version)))
        cosine = float(facts_of(reduced)["min_cosine"])
        if cosine < _LEAST_COSINE:
            _logger.warning("8 bits are too few", extra={"model": str(version), "cosine": cosine})
            return dict(openers)
        int8 = partial(open_runtime, reduced / "model.onnx", threads=threads, providers=("cpu",))
        return {Precision.INT8: int8, **openers}

    def _open_text_image(self, version: ModelVersion, path: Path) -> TextImageEncoder:
        config: Mapping[str, Any] = version.manifest.config
        threads, providers = self._device.threads, self._device.providers
        opened = partial(open_runtime, threads=threads, providers=providers)
        embedder = open_embedder(config, path, self._exported(version, path), opened)
        tokenizer = open_tokenizer(path)
        check_tokenizer(tokenizer, embedder.sizes)
        limits = EncoderConfig(embedder.sizes.dimensions, embedder.sizes.tokens)
        reader = Reader(tokenizer, limits, embedder.sizes.vocabulary)
        return TextImageEncoder(version.name, embedder, reader, self._compute)

    def _exported(self, version: ModelVersion, path: Path) -> Path:
        return self._exporter.export(version, path, "onnx", False, _silent).location


def _reduce(source: Path, vocabulary_size: int, staged: Path) -> dict[str, Any]:
    """Write the 8-bit graph and compare its vectors with those of the 32-bit one."""
    from services.common.export.int8 import quantise

    count = quantise(source, staged / "model.onnx")
    results = []
    for file in (source, staged / "model.onnx"):
        runtime = open_runtime(file, threads=1, providers=("cpu",))
        output = runtime.outputs[-1].name  # of encoders the pooled vectors, of cross-encoders the scores
        results.append(
            runtime.run({tensor.name: _sample(tensor.name, vocabulary_size) for tensor in runtime.inputs})[
                output
            ]
        )
        runtime.close()
    exact, rounded = (values.reshape(len(values), -1).astype(np.float64) for values in results)
    if exact.shape[1] == 1:  # scores: as one vector, for a single number has no direction
        exact, rounded = exact.T, rounded.T
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    cosines = (exact * rounded).sum(axis=1) / np.maximum(norms, 1e-12)
    return {"products": count, "mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}


def _sample(name: str, vocabulary_size: int) -> np.ndarray:
    """Sixteen rows of 32 ids, or their mask or type ids."""
    if name == "attention_mask":
        return np.ones((16, 32), np.int64)
    if name == "token_type_ids":
        return np.zeros((16, 32), np.int64)
    return np.random.default_rng(0).integers(0, vocabulary_size, (16, 32))


def _vocabulary(version: ModelVersion) -> int:
    config: Mapping[str, Any] = version.manifest.config
    return int(config["vocab_size"])


def _check_vocabulary(tokens: int, rows: int) -> None:
    if tokens > rows:
        raise ValueError(f"its tokenizer has {tokens} tokens, its embeddings only {rows} rows")


def _has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _silent(done: int, total: int, message: str) -> None:
    """Nobody watches."""
