"""From a Hugging Face directory to a runner: graph and weights of its steps are made once and kept.

Making them takes PyTorch and the model's family; opening them takes neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from services.common.export.tracing import tracing
from services.common.store.derived import Derive, facts_of
from services.sampler.transformer.model.directory import Description, family_of
from services.sampler.transformer.onnx.inspector import Inspector
from services.sampler.transformer.onnx.runner import SPARE, OnnxRunner, Sizes
from services.sampler.transformer.runner import Runner

GRAPH_FILE = "step.onnx"
INSPECTION_FILE = "inspection.onnx"
WEIGHTS_FILE = "weights.safetensors"
_FORMAT = 1
"""Part of the name that steps are kept by; to be raised when what is written changes."""


@dataclass(frozen=True)
class Placement:
    """How models run here."""

    precision: str = "int8"
    """"int8" or "fp32"."""
    threads: int = 1
    slots: int = 64
    """Sequences that share steps."""
    context: int = 4096
    """Most positions of a slot; a model with a smaller window takes that."""


@dataclass(frozen=True)
class Opened:
    """A model at work."""

    runner: Runner
    inspector: Inspector


def open_model(description: Description, folder: Path, derive: Derive, placement: Placement) -> Opened:
    """The model in ``folder``. Raises ValueError naming what is wrong with its files."""
    length = min(description.window, placement.context)
    name = f"step-{_FORMAT}-{placement.precision}-{length}"
    kept = derive(name, partial(_make, description, folder, placement.precision, length))
    runner = OnnxRunner(
        kept / GRAPH_FILE,
        load_file(kept / WEIGHTS_FILE),
        Sizes(**facts_of(kept)),
        slots=placement.slots,
        threads=placement.threads,
        padded=placement.precision != "int8",
    )
    inspector = Inspector(kept / INSPECTION_FILE, kept / WEIGHTS_FILE, placement.threads)
    return Opened(runner, inspector)


def _make(description: Description, folder: Path, precision: str, length: int, out: Path) -> dict[str, Any]:
    """Write graphs and weights into ``out``; returns the model's sizes."""
    with tracing():
        from services.sampler.transformer.onnx import graph, inspection_graph

        family = family_of(description)
        config = family.read_config(description.config)
        # In the graph head and embedding are two: one may be in 8 bits, and neither is written with it.
        untied = dataclasses.replace(config, tie_word_embeddings=False)
        for module, file in ((graph, GRAPH_FILE), (inspection_graph, INSPECTION_FILE)):
            module.write(lambda: family.build(untied), length + SPARE, out / file, precision)
        save_file(dict(_weights(family, config, folder, precision, length)), out / WEIGHTS_FILE)
        (out / WEIGHTS_FILE).chmod(0o644)  # safetensors writes files that only their owner may read
    return {each.name: getattr(config, each.name, length) for each in dataclasses.fields(Sizes)}


def _weights(
    family: ModuleType, config: Any, folder: Path, precision: str, length: int
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Every initialiser of the graph, read from the checkpoint one by one."""
    import torch

    from services.sampler.transformer.model.decoder import on_meta
    from services.sampler.transformer.model.weights import Weights
    from services.sampler.transformer.onnx import int8

    weights = Weights(folder)
    sources = family.sources(config)
    decoder = on_meta(lambda: family.build(dataclasses.replace(config, tie_word_embeddings=False)))
    sources.setdefault("head.weight", sources["tokens.weight"])
    layers = {name: module for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, parameter in decoder.named_parameters():
        value = weights.read(sources[name], parameter.shape)
        layer, _, kind = name.rpartition(".")
        if precision == "int8" and kind == "weight" and layer in layers and int8.fits(layers[layer]):
            integers, scales = int8.quantised(value)
            yield f"decoder.{layer}.weight", integers
            yield f"decoder.{layer}.scale", scales
        else:
            yield f"decoder.{name}", np.ascontiguousarray(value.float().numpy())
    rotation = family.rotation(config, torch.arange(length + SPARE))
    if rotation is not None:
        yield "cos", rotation[0].numpy()
        yield "sin", rotation[1].numpy()
