"""Family unet: a network of pixels with a text tower, as recipe pretrain_diffusion leaves it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.common.errors import unsupported
from services.common.export import read_export
from services.common.export.graph import GraphSpec
from services.diffusion.adapters.stacks import Stacks, layers_of
from services.diffusion.engine import Prompts, Question, Traits
from services.diffusion.loading.opening import Opening
from services.diffusion.onnx.denoiser import OnnxDenoiser
from services.diffusion.onnx.model import PixelModel
from services.diffusion.onnx.reading import TOKENIZER_FILE, Reader
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS

BYTES_PER_FILE_BYTE = 6.0
"""In memory: weights of 16 bits as 32, once for rows without adapters and once for those with."""
RANKS = 32
"""Of all adapters in use together; part of the exported graph."""
WEIGHTS_FILE, LEVELS_FILE, TEXT_FOLDER = "unet.safetensors", "scheduler_config.json", "text"


def load(opening: Opening) -> PixelModel:
    """The model, measured. Raises ValueError, KeyError or OSError when the files make none."""
    config: Mapping[str, Any] = opening.version.manifest.config
    levels = Levels.of_config(json.loads((opening.folder / LEVELS_FILE).read_text()))
    folder = opening.exported()
    files = {name: folder / graph.file for name, graph in read_export(folder).graphs.items()}
    stacks = Stacks(str(opening.version), *layers_of(opening.folder / WEIGHTS_FILE), RANKS)
    reader = Reader(opening.folder / TEXT_FOLDER / TOKENIZER_FILE, opening.open(files["text"]))
    denoiser = OnnxDenoiser(opening.open(files["unet"]), partial(opening.open, files["adapted"]), stacks)
    traits = _traits(config)
    model = PixelModel(opening.version.name, traits, levels, denoiser, stacks, reader)
    sample = np.random.default_rng(0).standard_normal((traits.channels, traits.height, traits.width))
    text = model.read(Prompts("a"), traits.width, traits.height, 1.0).told
    denoiser.measure(Question(sample.astype(np.float32), 500.0, text), opening.placement.rows)
    return model


def graphs(config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
    """The three graphs. FAILED_PRECONDITION without torch or transformers."""
    try:
        from services.diffusion.networks.graphs import graphs_of
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return graphs_of(config, folder, RANKS)


def _traits(config: Mapping[str, Any]) -> Traits:
    sizes, usual = config["unet"], config.get("defaults", {})
    return Traits(
        channels=int(sizes["channels"]),
        factor=1,
        width=int(sizes["size"]),
        height=int(sizes["size"]),
        multiple=int(sizes["size"]),
        largest=int(sizes["size"]),
        scheduler=str(usual.get("scheduler", "dpmpp_2m")),
        steps=int(usual.get("steps", 20)),
        guidance=float(usual.get("guidance_scale", 3.0)),
        schedulers=frozenset(SCHEDULERS) - {"flow_euler"},
    )
