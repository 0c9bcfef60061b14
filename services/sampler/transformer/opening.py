"""From a Hugging Face directory to a runner: the step's graph, made once and kept, and the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.store.derived import Build, Derive
from services.sampler.transformer.directory import Description, family_of
from services.sampler.transformer.onnx_runner import SPARE, OnnxRunner
from services.sampler.transformer.runner import Runner

GRAPH_FILE = "step.onnx"
_GRAPH_FORMAT = 1
"""Part of the name that graphs are kept by; to be raised when what is written changes."""


@dataclass(frozen=True)
class Placement:
    """How models run here."""

    precision: str = "int8"
    """"int8" or "fp32"."""
    threads: int = 1
    slots: int = 32
    """Sequences that share steps."""
    context: int = 4096
    """Most positions of a slot; a model with a smaller window takes that."""


@dataclass(frozen=True)
class Opened:
    """A runner and the positions that the model was trained for."""

    runner: Runner
    window: int


def open_runner(description: Description, folder: Path, derive: Derive, placement: Placement) -> Opened:
    """The runner of the model in ``folder``. Raises ValueError naming what is wrong with its files."""
    family = family_of(description)
    if family is None:
        raise ValueError(f"no family runs the architecture {description.model_type!r}")
    config = family.read_config(description.config)
    length = min(config.max_position_embeddings, placement.context)
    positions = length + SPARE
    name = f"step-{_GRAPH_FORMAT}-{placement.precision}-{positions}"
    graph = derive(name, _builder(family, config, positions, placement.precision))
    runner = OnnxRunner(
        graph / GRAPH_FILE,
        dict(_weights(family, config, folder, positions, placement.precision)),
        config,
        slots=placement.slots,
        length=length,
        threads=placement.threads,
        padded=placement.precision != "int8",
    )
    return Opened(runner, length)


def _builder(family: ModuleType, config: Any, positions: int, precision: str) -> Build:
    """Writes the graph into a folder; only then PyTorch is needed."""

    def build(folder: Path) -> dict[str, Any]:
        from services.sampler.transformer import graph

        # In the graph head and embedding are two: one may be in 8 bits, and neither is written with it.
        untied = dataclasses.replace(config, tie_word_embeddings=False)
        graph.write(lambda: family.build(untied), positions, folder / GRAPH_FILE, precision)
        return {}

    return build


def _weights(
    family: ModuleType, config: Any, folder: Path, positions: int, precision: str
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Every initialiser of the graph, read from the checkpoint one by one."""
    import torch

    from services.sampler.transformer import int8
    from services.sampler.transformer.weights import Weights

    weights = Weights(folder)
    sources = family.sources(config)
    with torch.device("meta"):
        decoder = family.build(dataclasses.replace(config, tie_word_embeddings=False))
    sources.setdefault("head.weight", sources["tokens.weight"])
    layers = {name: module for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, parameter in decoder.named_parameters():
        value = weights.read(sources[name], parameter.shape)
        layer = name.rpartition(".")[0]
        if precision == "int8" and name.endswith(".weight") and layer in layers and int8.fits(layers[layer]):
            integers, scales = int8.quantised(value)
            yield f"decoder.{layer}.weight", integers
            yield f"decoder.{layer}.scale", scales
        else:
            yield f"decoder.{name}", np.ascontiguousarray(value.float().numpy())
    rotation = family.rotation(config, torch.arange(positions))
    if rotation is not None:
        yield "cos", rotation[0].numpy()
        yield "sin", rotation[1].numpy()
