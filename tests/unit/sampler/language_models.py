"""Tiny language models as Hugging Face directories, made by Transformers itself, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from services.finetune.recipes.encoding import byte_level_bpe

TEXT = (
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, "
    "and nothing particular to interest me on shore, I thought I would sail about a little and see "
    "the watery part of the world. It is a way I have of driving off the spleen. "
    "Naïve café, 后後, 🐋🐳."
)
VOCABULARY = 400
WINDOW = 256
END = "<|endoftext|>"
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.2,
}

_SLIDING = {"sliding_window": 24, "head_dim": 16, "pad_token_id": 0}
FOREIGN: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "gpt_neox": (GPTNeoXConfig, {"rotary_pct": 0.5}),
    "gemma2": (Gemma2Config, _SLIDING),
    "mistral_sliding": (MistralConfig, _SLIDING),
    "llama_yarn": (
        LlamaConfig,
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
    ),
    "qwen3_moe": (
        Qwen3MoeConfig,
        {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16},
    ),
    "gpt_oss": (GptOssConfig, _SLIDING | {"num_local_experts": 4}),
}
"""Models that Transformers' own code runs: class and sizes besides those of ``_LLAMA``."""


def config_of(kind: str) -> PreTrainedConfig:
    """A tiny model's configuration."""
    if kind == "gpt2":
        return GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=64,
            n_layer=2,
            n_head=4,
            n_positions=WINDOW,
            bos_token_id=0,
            eos_token_id=0,
            initializer_range=0.2,
        )
    if kind == "llama3":
        scaling = {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
        return LlamaConfig(**_LLAMA, rope_scaling=scaling, tie_word_embeddings=True)
    if kind in FOREIGN:
        made, extra = FOREIGN[kind]
        return made(**_LLAMA | extra)
    classes = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
    extra = {"head_dim": 32} if kind in {"qwen3", "mistral"} else {}
    return classes[kind](**_LLAMA, **extra)


def write(kind: str, folder: Path, chat: bool = False) -> Path:
    """Write the directory of a tiny model of ``kind`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config_of(kind))
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe([TEXT] * 3, VOCABULARY, (END,)), bos_token=END, eos_token=END
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def reference(folder: Path) -> torch.nn.Module:
    """The model as Transformers loads it."""
    assert AutoConfig.from_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def greedy(model: torch.nn.Module, prompt: list[int], count: int) -> list[int]:
    """``count`` tokens after a prompt, by Transformers' own generate."""
    model.generation_config.eos_token_id = None
    out = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=0)
    return out[0, len(prompt) :].tolist()
