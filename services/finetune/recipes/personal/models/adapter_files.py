"""Adapters' files as PEFT writes them, which diffusers, Transformers and our own services read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(folder: Path, pairs: Mapping[str, tuple[Tensor, Tensor]], base: str) -> None:
    """Factors (down [rank, inputs], up [outputs, rank]) by layer, in 16 bits, with a scale of 1."""
    weights: dict[str, Tensor] = {}
    for name, (down, up) in pairs.items():
        for half, factor in (("A", down), ("B", up)):
            weights[f"base_model.model.{name}.lora_{half}.weight"] = factor.detach().half().contiguous().cpu()
    save_file(weights, folder / WEIGHTS_FILE, {"format": "pt"})
    rank = len(next(iter(pairs.values()))[0])
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted(pairs),
        "bias": "none",
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2))
