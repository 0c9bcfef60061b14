"""Loads GANs: three graphs, the mean style, and what else the version has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from services.common.errors import unsupported
from services.common.export import read_export
from services.common.export.exporter import StoreExporter
from services.common.pictures.arrays import Array
from services.common.residency.failures import load_failures
from services.common.runtimes import Runtime, open_runtime
from services.common.store import Kind, ModelVersion
from services.gan.companions import directions, encoder, neighbours, references
from services.gan.engine import Aim, Companions, Descent, Model, Traits
from services.gan.loading.files import GENERATOR, JUDGE, LOGITS, MAPPING, MEAN, PICTURES, STYLES, SYNTHESIS
from services.gan.onnx.model import OnnxGan
from services.gan.onnx.rows import ExactRows
from services.gan.vocabulary import Vocabulary

_BYTES_PER_FILE_BYTE = 6.0
"""In memory: weights of 16 bits as 32, packed for the kernels, and what runs beside them."""

OpenGraph = Callable[[Path], Runtime]


class GanLoader:
    """What the residency manager asks of a service: from files to a model."""

    kinds: frozenset[str] = frozenset({Kind.GAN})

    def __init__(self, exporter: StoreExporter, open_graph: OpenGraph, rows: int) -> None:
        """``exporter`` makes and keeps the graphs that models are run from; ``rows``: the most of a call."""
        self._exporter, self._open, self._rows = exporter, open_graph, rows

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        return int(_BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Model:
        """What the files in ``path`` make. FAILED_PRECONDITION, LOAD_FAILED, when they make nothing."""
        with load_failures(version):
            folder = self._exporter.export(version, path, "onnx", False, lambda *_: None).location
            files = {name: folder / graph.file for name, graph in read_export(folder).graphs.items()}
            mapping, synthesis = self._open(files[MAPPING]), self._open(files[SYNTHESIS])
            traits = _traits(version, mapping, synthesis)
            return OnnxGan(
                name=version.name,
                traits=traits,
                companions=_companions(version, path, traits),
                mean_style=_mean(path, traits.width),
                mapping=ExactRows(mapping, STYLES, self._rows),
                synthesis=ExactRows(synthesis, PICTURES, self._rows),
                discriminator=ExactRows(self._open(files[JUDGE]), LOGITS, self._rows),
                begin_descent=partial(_descent, version, path, traits),
                encoder=encoder.read(path, traits.width),
            )

    def warm_up(self, model: Model) -> None:
        """Run every graph, and find the rows that calls must have."""
        model.settle()

    def close(self, model: Model) -> None:
        """Let go of its graphs."""
        model.close()


def opener(device: str, threads: int) -> OpenGraph:
    """Opens graphs on a device of the settings; auto leaves it to the runtime."""
    return partial(open_runtime, threads=threads, providers=None if device == "auto" else (device,))


def _traits(version: ModelVersion, mapping: Runtime, synthesis: Runtime) -> Traits:
    config: Mapping[str, Any] = version.manifest.config
    shapes = {tensor.name: tensor.shape for each in (mapping, synthesis) for tensor in each.inputs}
    vocabulary = Vocabulary(config.get("attributes", ()) if "attributes" in shapes else ())
    words = int(shapes.get("attributes", (-1, 0))[1])
    if words != len(vocabulary):
        raise ValueError(f"its networks take {words} words, its configuration names {len(vocabulary)}")
    usual = config.get("defaults", {})
    layers, width = (int(each) for each in shapes["w"][1:])
    return Traits(
        size=int(config[version.manifest.family]["size"]),
        latent=int(shapes["z"][1]),
        layers=layers,
        width=width,
        places=int(shapes.get("noise", (-1, 0))[1]),
        vocabulary=vocabulary,
        psi=float(usual.get("truncation_psi", 1.0)),
        regularization=float(usual.get("regularization", 0.01)),
    )


def _companions(version: ModelVersion, path: Path, traits: Traits) -> Companions:
    return Companions(
        directions.read(path, traits.width), neighbours.read(path), references.read(version.manifest.config)
    )


def _mean(path: Path, width: int) -> Array:
    with safe_open(path / GENERATOR, "numpy") as file:
        mean: Array = file.get_tensor(MEAN).astype(np.float32)
    if mean.shape != (width,):
        raise ValueError(f"{MEAN} has the shape {list(mean.shape)}, styles have {width} numbers")
    return mean


def _descent(version: ModelVersion, path: Path, traits: Traits, aim: Aim) -> Descent:
    """Read the generator and begin. Each projection has a copy of its own, which goes with it."""
    try:
        from services.gan.torch.descent import TorchDescent
        from services.gan.torch.networks import generator_of
    except ModuleNotFoundError as error:
        raise unsupported(f"projections need {error.name}: install the 'train' extra") from None
    generator = generator_of(version.manifest.family, version.manifest.config, path)
    return TorchDescent(generator.get_submodule("synthesis"), generator.get_buffer(MEAN), aim, traits.places)
