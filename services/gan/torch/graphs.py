"""The three graphs of a version: mapping, synthesis, discriminator."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from services.common.export.graph import GraphSpec
from services.gan.loading.files import JUDGE, LOGITS, MAPPING, PICTURES, STYLES, SYNTHESIS
from services.gan.torch.networks import discriminator_of, generator_of

_ROWS = 3


def graphs_of(family: str, config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
    """For any number of rows. Raises ValueError where the files make no networks."""
    generator = generator_of(family, config, folder)
    sizes: Any = generator.config
    chance = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(_ROWS, width, generator=chance) for width in (sizes.latent, sizes.noise))
    attributes = (torch.rand(_ROWS, sizes.attributes, generator=chance) < 0.2).float()
    mapping, synthesis = generator.get_submodule("mapping"), generator.get_submodule("synthesis")
    with torch.no_grad():
        styles: Tensor = mapping(**_taken(mapping, {"z": z, "attributes": attributes}))
        w = styles[:, None].repeat(1, sizes.layers, 1)
        pictures = synthesis(**_taken(synthesis, {"w": w, "noise": noise}))
    discriminator = discriminator_of(family, config, folder)
    return {
        MAPPING: _spec(mapping, {"z": z, "attributes": attributes}, STYLES),
        SYNTHESIS: _spec(synthesis, {"w": w, "noise": noise}, PICTURES),
        JUDGE: _spec(discriminator, {"pictures": pictures, "attributes": attributes}, LOGITS),
    }


def _taken(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the module knows of."""
    known = inspect.signature(module.forward).parameters
    return {name: each for name, each in inputs.items() if name in known}


def _spec(module: nn.Module, inputs: Mapping[str, Tensor], output: str) -> GraphSpec:
    taken = _taken(module, inputs)
    return GraphSpec(module, taken, (output,), {name: {0: "batch"} for name in taken})
