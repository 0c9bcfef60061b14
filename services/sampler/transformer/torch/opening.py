"""From a Hugging Face directory to a runner in PyTorch that has shown what it must."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from services.common.cuda_graphs import recorder
from services.sampler.transformer.engine import AHEAD
from services.sampler.transformer.model.decoder import on_meta
from services.sampler.transformer.model.directory import Description
from services.sampler.transformer.model.weights import Weights, fill
from services.sampler.transformer.torch.cache import PagedCache
from services.sampler.transformer.torch.checking import best_attention, check_logits, keeps_to_itself
from services.sampler.transformer.torch.foreign import loading
from services.sampler.transformer.torch.graphs import Attention, BatchSteps
from services.sampler.transformer.torch.pages import PAGE, PageTable, pages_for
from services.sampler.transformer.torch.runner import ExactSteps, TorchRunner, position_bytes
from services.sampler.transformer.torch.stepped import OwnModel, Stepped, TorchInspector

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_logger = logging.getLogger("pequod.sampler")


@dataclass(frozen=True)
class Room:
    """What a runner may take up."""

    slots: int
    context: int
    """Most positions of a slot; a model with a smaller window takes that."""
    cache_bytes: int
    graphs: bool = True
    """Whether a GPU's steps are recorded as CUDA graphs."""


def open_model(
    family: ModuleType | None,
    description: Description,
    folder: Path,
    room: Room,
    precision: str,
    device: torch.device,
) -> tuple[TorchRunner, TorchInspector, int]:
    """The model in ``folder`` by ``family``, else by Transformers' code, and the positions there is room for.

    Raises ValueError naming what is wrong with its files, or what it asks for that is not done here.
    """
    dtype = _dtype(precision, device)
    try:
        if family is not None:
            model: Stepped = _own(family, description, folder, dtype, device)
            runner, positions = make_runner(model, min(description.window, room.context), room)
        else:
            foreign, window = loading.load(folder, description, dtype, device)
            model, (runner, positions) = foreign, make_runner(foreign, min(window, room.context), room)
            check_logits(runner, foreign)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"the GPU has too little memory: {error}") from error
    return runner, TorchInspector(model), positions


def make_runner(
    model: Stepped, length: int, room: Room, attention: Attention | None = None
) -> tuple[TorchRunner, int]:
    """A runner, and how many positions all its slots together may fill.

    ``attention``: that of steps in batches, as on a GPU, for tests on the CPU.
    """
    slack = room.slots * PAGE + AHEAD
    positions = max(room.cache_bytes // position_bytes(model) - slack, length)
    pages = pages_for(positions, room.slots, length, AHEAD)
    table = PageTable(room.slots, length, pages)
    cache = PagedCache(model.layers, pages, model.dtype, model.device)
    if model.device.type == "cpu" and attention is None:
        exact = ExactSteps(model, table, cache)
        runner = TorchRunner(model, table, cache, exact, length)
        exact.apart = not keeps_to_itself(runner)
        if exact.apart:
            _logger.warning("rows of this model know each other: each is stepped alone, which is slow")
        return runner, positions
    on_gpu = model.device.type == "cuda"
    best = attention or best_attention(model)
    steps = BatchSteps(model, table, cache, best, recorder(model.device) if on_gpu and room.graphs else None)
    if on_gpu:
        with torch.inference_mode():
            steps.warm_up()
    return TorchRunner(model, table, cache, steps, length), positions


def _own(
    family: ModuleType, description: Description, folder: Path, dtype: torch.dtype, device: torch.device
) -> OwnModel:
    """A family's decoder with the weights of ``folder``."""
    config = family.read_config(description.config)
    decoder = on_meta(lambda: family.build(config)).to(dtype)
    fill(decoder, Weights(folder), family.sources(config))
    return OwnModel(decoder.to(device).eval(), dtype, device)


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise ValueError(f"its precision here can be auto or one of {known}; {precision} is set")
    return _DTYPES[precision]
