"""The graph of a version of family "upscaler"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from services.common.export.graph import GraphSpec
from services.common.upscaling.network import Config, Upscaler


def upscaler_graph(config: Mapping[str, Any], folder: Path) -> GraphSpec:
    """For pictures of any size."""
    sizes = Config(**{each.name: int(config[each.name]) for each in fields(Config)})
    network = Upscaler(sizes)
    network.load_state_dict(load_file(folder / "upscaler.safetensors"))
    picture = torch.rand((2, sizes.channels, 16, 24), generator=torch.Generator().manual_seed(0)) * 2 - 1
    free = {"picture": {0: "batch", 2: "height", 3: "width"}}
    return GraphSpec(network.eval(), {"picture": picture}, ("enlarged",), free)
