"""Adapters of kohya's names, which diffusers' converters read in PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from services.diffusion.adapters import factors
from services.diffusion.pipelines.kohya import converted
from tests.fuzz.loading import loaded
from tests.fuzz.targets import adapter_files

REFUSALS = ()
WORDS = tuple(
    rb"""
        lora_unet_ lora_te_ lora_te1_ lora_transformer_ double_blocks_0_img_attn_qkv .alpha []
        .lora_down.weight .lora_up.weight text_model_encoder_layers_0_mlp_fc1 down_blocks_1_attentions_0
    """.split()
)


def run(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, loaded():
        file = Path(name, "a.safetensors")
        file.write_bytes(data)
        factors.read("a", "k", file, converted)


def seeds() -> Iterable[bytes]:
    *_, kohya = adapter_files.seeds()
    yield kohya.partition(b"\n")[2]
    yield kohya.partition(b"\n")[2].replace(
        b"lora_unet_mid_block_attentions_0_proj_in", b"lora_te_text_model_encoder_layers_0_mlp_"
    )
