"""LoRA adapters for the tiny models, written by PEFT itself, with random factors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import PreTrainedModel

from tests.unit.sampler import language_models as tiny

ALL = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
}
"""Layers that an adapter may change, by family."""


def adapted(directory: Path, seed: int, targets: list[str], **options: Any) -> peft.PeftModel:
    """The model in ``directory`` with an adapter that changes what it says."""
    model: PreTrainedModel = tiny.reference(directory)
    config = peft.LoraConfig(
        r=options.pop("r", 4),
        target_modules=targets,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        **options,
    )
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # PEFT still asks Transformers by names that it is about to lose.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)  # and says which way round GPT-2's weights are
        wrapped = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    return wrapped


def write(directory: Path, folder: Path, seed: int, targets: list[str], **options: Any) -> peft.PeftModel:
    """Write an adapter's directory into ``folder``; returns the model that PEFT makes with it."""
    wrapped = adapted(directory, seed, targets, **options)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    return wrapped
