"""Low-rank factors in networks of diffusers, by PEFT, and their files as diffusers writes and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from services.diffusion.pipelines.directory import Directory

LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
"""Of attention, to places and to words."""


def with_factors(network: Any, rank: int) -> None:
    """Put factors into the attention of ``network``, which change nothing yet; they alone take gradients."""
    import peft

    config = peft.LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(LAYERS), init_lora_weights="gaussian"
    )
    network.requires_grad_(False)
    peft.inject_adapter_in_model(config, network)


def write_factors(directory: Directory, network: Any, rank: int, folder: Path) -> None:
    """``pytorch_lora_weights.safetensors`` in 16 bits, for ``load_lora_weights`` of the pipeline's class."""
    import diffusers
    import peft

    factors = {
        name: each.detach().to("cpu", torch.float16).contiguous()
        for name, each in peft.get_peft_model_state_dict(network).items()
    }
    named: dict[str, Any] = {
        f"{directory.network}_lora_layers": factors,
        f"{directory.network}_lora_adapter_metadata": {
            "r": rank,
            "lora_alpha": rank,
            "target_modules": list(LAYERS),
        },
    }
    getattr(diffusers, directory.architecture.value).save_lora_weights(folder, **named)
