"""Adapters with random factors, in files as people share them."""

from __future__ import annotations

import json

import peft
import torch
from safetensors.torch import save_file

LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "time_emb_proj", "proj_in", "conv1", "conv"]
"""Linear layers, convolutions of 1 x 1 and 3 x 3, some with a stride."""
READ = ["q_proj", "out_proj", "fc1"]
"""Layers of text encoders."""
FILE = "pytorch_lora_weights.safetensors"


def trained(network, seed, rank=4, alpha=8, layers=LAYERS):
    """An adapter of the network with random factors: its tensors by PEFT's names, and its settings."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, init_lora_weights=False)
    # Not by Transformers' own ``add_adapter``, which wants a PEFT that is not out yet.
    peft.inject_adapter_in_model(config, network)
    tensors = {name: 0.5 * each.clone() for name, each in peft.get_peft_model_state_dict(network).items()}
    return {name.replace(".default", ""): each.contiguous() for name, each in tensors.items()}, config


def save(folder, tensors, config=None, prefix="unet"):
    """As ``save_lora_weights`` does: with the settings in the metadata, or without."""
    return save_parts(folder, {prefix: (tensors, config)})


def save_parts(folder, parts):
    """The same for several parts of a model: (tensors, settings or None) by their prefix."""
    folder.mkdir()
    noted = {
        f"{prefix}.{field}": value
        for prefix, (_, config) in parts.items()
        if config
        for field, value in (
            ("lora_alpha", config.lora_alpha),
            ("r", config.r),
            ("target_modules", sorted(config.target_modules)),
        )
    }
    metadata = {"format": "pt"} | ({"lora_adapter_metadata": json.dumps(noted)} if noted else {})
    tensors = {f"{prefix}.{name}": each for prefix, part in parts.items() for name, each in part[0].items()}
    save_file(tensors, folder / FILE, metadata)
    return folder


def peft_folder(folder, tensors):
    """As PEFT and the recipe distill_diffusion save."""
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": each.half() for name, each in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    return folder


def kohya_file(path, tensors, alpha=8.0, texts=None):
    named = {}
    prefixed = [("lora_unet_", *each) for each in tensors.items()]
    prefixed += [("lora_te_text_model_", *each) for each in (texts or {}).items()]
    for prefix, name, each in prefixed:
        layer, _, half = name.rpartition(".lora_")
        kohya = prefix + layer.replace(".", "_")
        named[f"{kohya}.lora_{'down' if half.startswith('A') else 'up'}.weight"] = each
        named[f"{kohya}.alpha"] = torch.tensor(alpha)
    save_file(named, path)
    return path
