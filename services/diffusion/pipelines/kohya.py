"""Adapters as kohya-ss's scripts write them, by diffusers' own converters."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

_SDXL = SimpleNamespace(layers_per_block=2)
"""What the converter asks of a UNet's config; only SDXL's adapters have the names it is for."""
_FLUX_BLOCKS = ("double_blocks", "single_blocks")


def converted(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file by diffusers' names, alphas among them. ValueError for an unknown name."""
    from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin, StableDiffusionLoraLoaderMixin
    from safetensors.torch import load_file

    tensors = {name: each.float() for name, each in load_file(file).items()}
    alphas: dict[str, Any] = {}
    if any(block in name for name in tensors for block in _FLUX_BLOCKS):
        named: Any = FluxLoraLoaderMixin.lora_state_dict(tensors)
    else:
        named, found = StableDiffusionLoraLoaderMixin.lora_state_dict(tensors, unet_config=_SDXL)
        alphas = {name: np.array(alpha, np.float32) for name, alpha in (found or {}).items()}
    return {name: each.numpy() for name, each in named.items()} | alphas
