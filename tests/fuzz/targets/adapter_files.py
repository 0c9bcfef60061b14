"""Adapters as PEFT and diffusers write them: a configuration on the first line, then safetensors."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from services.diffusion.adapters import factors
from services.sampler.transformer.lora import adapter
from tests.fuzz.loading import loaded

REFUSALS = ()
WORDS = tuple(
    rb"""
        "peft_type" "LORA" "lora_alpha" "alpha_pattern" "use_rslora" "bias" (a+)+$ 1e999
        base_model.model. .lora_A.weight .lora_B.weight lora_unet_ .alpha unet. "F16" [0,4]
        "lora_adapter_metadata" text_encoder. "shape":[] "shape":[0,2] "__metadata__" null [[
    """.split()
)


def run(data: bytes) -> None:
    kind, (config, _, content) = data[:1], data[1:].partition(b"\n")
    with tempfile.TemporaryDirectory() as name, loaded():
        folder = Path(name)
        if config:
            (folder / adapter.CONFIG_FILE).write_bytes(config)
        (folder / adapter.WEIGHTS_FILE).write_bytes(content)
        if kind == b"s":
            read = adapter.read("a", "k", folder)
            assert all(np.isfinite(each.down).all() for each in read.factors.values())
        else:
            factors.read("a", "k", folder)


def seeds() -> Iterable[bytes]:
    config = {"peft_type": "LORA", "lora_alpha": 4, "alpha_pattern": {"q_proj": 2}, "use_rslora": True}
    pair = {"lora_A.weight": np.ones((2, 3), np.float32), "lora_B.weight": np.ones((4, 2), np.float16)}
    for root, kind in (("base_model.model.model.layers.0.q_proj.", b"s"), ("unet.mid.to_q.", b"d")):
        weights = save({root + name: value for name, value in pair.items()})
        yield kind + json.dumps(config).encode() + b"\n" + weights
        yield kind + b"\n" + weights
    noted = {
        "lora_adapter_metadata": json.dumps({"unet.lora_alpha": 4, "text_encoder.alpha_pattern": {"a": 1}})
    }
    yield b"d\n" + save({f"unet.mid.to_q.{name}": value for name, value in pair.items()}, noted)
    kohya = {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": np.ones((2, 3), np.float32),
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": np.ones((3, 2), np.float32),
        "lora_unet_mid_block_attentions_0_proj_in.alpha": np.array(2, np.float32),
    }
    yield b"d\n" + save(kohya)
