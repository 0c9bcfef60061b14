"""Writes a Hugging Face directory of Llama's or GPT-2's shape as a GGUF file in 8 bits (Q8_0).

What llama.cpp's own converter does, without its need of torch and of a tokenizer that it knows: the
benchmark's prompts are ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

_ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "gpt2": gguf.MODEL_ARCH.GPT2}
_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
_POSITIONS = "wpe.weight"


def converted(folder: Path) -> Path:
    """The GGUF file of the model in ``folder``, made at first use beside it."""
    out = folder.with_name(f"{folder.name}.q8_0.gguf")
    if not out.exists():
        scratch = out.with_suffix(".part")
        _write(
            json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors"), scratch
        )
        scratch.rename(out)
    return out


def _write(config: dict[str, Any], weights: dict[str, np.ndarray], out: Path) -> None:
    architecture = _ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[architecture])
    layers = _describe(writer, config)
    names = gguf.get_tensor_name_map(architecture, layers)
    for name, value in _tensors(config, weights):
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        if value.ndim == 2 and not name.endswith(_POSITIONS):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(new, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> int:
    """Write the sizes; returns how many layers there are."""
    layers, width = (config.get(name) for name in ("num_hidden_layers", "hidden_size"))
    heads = config.get("num_attention_heads", config.get("n_head"))
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_head_count(heads)
    writer.add_context_length(config.get("max_position_embeddings", config.get("n_positions")))
    if config["model_type"] == "llama":
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_dimension_count(width // heads)
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    else:
        layers, width = config["n_layer"], config["n_embd"]
        writer.add_feed_forward_length(4 * width)
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    return int(layers)


def _tensors(config: dict[str, Any], weights: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values as llama.cpp has them: [out, in], and Llama's rotated numbers in pairs."""
    for name, value in weights.items():
        if name.endswith(_TRANSPOSED):
            yield name, np.ascontiguousarray(value.T)
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            halves = value.reshape(heads, 2, -1, value.shape[1])
            yield name, np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))
        else:
            yield name, value
