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
from services.sampler.transformer.lora.linears import Linears
from services.sampler.transformer.model.directory import Description, family_of
from services.sampler.transformer.onnx.inspector import Inspector
from services.sampler.transformer.onnx.runner import SPARE, Graphs, OnnxRunner, Open, Sizes
from services.sampler.transformer.onnx.session import open_session
from services.sampler.transformer.runner import Inspector as AnyInspector
from services.sampler.transformer.runner import Runner

GRAPH_FILE = "step.onnx"
ADAPTED_FILE = "adapted.onnx"
INSPECTION_FILE = "inspection.onnx"
WEIGHTS_FILE = "weights.safetensors"
_FORMAT = 2
"""Part of the name that steps are kept by; to be raised when what is written changes."""


@dataclass(frozen=True)
class Placement:
    """How models run here."""

    precision: str = "auto"
    """"int8", "fp32", "bf16", or "auto" for what suits device and model."""
    threads: int = 1
    slots: int = 64
    """Sequences that share steps."""
    context: int = 4096
    """Most positions of a slot; a model with a smaller window takes that."""
    adapters: int = 4
    """Adapters of one model that steps can use at the same time; 0: none can be asked for."""
    adapter_rank: int = 16
    """The largest rank of an adapter."""
    device: str = "cpu"
    """"cpu", "cuda", or "auto" for CUDA where it works."""


@dataclass(frozen=True)
class Opened:
    """A model at work."""

    runner: Runner
    inspector: AnyInspector
    linears: Linears
    """What adapters may change."""
    positions: int | None = None
    """Positions that there is room for, where the runner has reckoned it."""


def open_model(description: Description, folder: Path, derive: Derive, placement: Placement) -> Opened:
    """The model in ``folder``. Raises ValueError naming what is wrong with its files, or NoFamily."""
    length = min(description.window, placement.context)
    rank = placement.adapter_rank if placement.adapters else 0
    name = f"step-{_FORMAT}-{placement.precision}-{length}-{rank}"
    kept = derive(name, partial(_make, description, folder, placement.precision, length, rank))
    facts = facts_of(kept)
    linears = Linears.of_facts(facts["linears"], rank)
    runner = OnnxRunner(
        Graphs(
            _opener(kept, GRAPH_FILE, placement.threads),
            _opener(kept, ADAPTED_FILE, placement.threads),
            linears,
        ),
        Sizes(**facts["sizes"]),
        slots=placement.slots,
        adapters=placement.adapters,
        padded=placement.precision != "int8",
    )
    inspector = Inspector(kept / INSPECTION_FILE, kept / WEIGHTS_FILE, placement.threads)
    return Opened(runner, inspector, linears)


def _opener(kept: Path, graph: str, threads: int) -> Open:
    return lambda: open_session(kept / graph, load_file(kept / WEIGHTS_FILE), threads)


def _make(
    description: Description, folder: Path, precision: str, length: int, rank: int, out: Path
) -> dict[str, Any]:
    """Write graphs and weights into ``out``; returns the model's sizes and what adapters may change."""
    with tracing():
        from services.sampler.transformer.onnx.graphs import adapted, inspection, step

        family = family_of(description)
        config = family.read_config(description.config)
        # In the graph head and embedding are two: one may be in 8 bits, and neither is written with it.
        untied = dataclasses.replace(config, tie_word_embeddings=False)
        build = partial(family.build, untied)
        # Weights first: what is wrong with a file is told at once, and graphs take their time.
        save_file(dict(_weights(family, config, folder, precision, length)), out / WEIGHTS_FILE)
        (out / WEIGHTS_FILE).chmod(0o644)  # safetensors writes files that only their owner may read
        for module, file in ((step, GRAPH_FILE), (inspection, INSPECTION_FILE)):
            module.write(build, length + SPARE, out / file, precision)
        facts = _linears(family, config, folder)
        if rank:
            adapted.write(build, Linears.of_facts(facts, rank), length + SPARE, out / ADAPTED_FILE, precision)
    sizes = {each.name: getattr(config, each.name, length) for each in dataclasses.fields(Sizes)}
    return {"sizes": sizes, "linears": facts}


def _linears(family: ModuleType, config: Any, folder: Path) -> list[dict[str, Any]]:
    """JSON of the model's linear layers, as ``Linears.of_facts`` reads it."""
    from services.sampler.transformer.model.decoder import on_meta
    from services.sampler.transformer.model.names import bare
    from services.sampler.transformer.model.weights import Weights
    from services.sampler.transformer.onnx.graphs.adapted import linear_layers

    weights, sources = Weights(folder), family.sources(config)
    decoder = on_meta(lambda: family.build(dataclasses.replace(config, tie_word_embeddings=False)))
    facts = []
    parts: list[tuple[str, int]]
    for name, layer in linear_layers(decoder).items():
        if name == "head":  # PEFT calls it so where it shares the embedding's weight too
            parts = [("lm_head", layer.out_features)]
        else:
            source = sources[f"{name}.weight"]
            names = [bare(each).removesuffix(".weight") for each in source.names]
            parts = list(zip(names, weights.rows(source), strict=True))
        facts.append({"inputs": layer.in_features, "parts": parts})
    return facts


def _weights(
    family: ModuleType, config: Any, folder: Path, precision: str, length: int
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Every initialiser of the graph, read from the checkpoint one by one."""
    import torch

    from services.sampler.transformer.model.decoder import on_meta
    from services.sampler.transformer.model.weights import Weights
    from services.sampler.transformer.onnx.graphs import int8

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
