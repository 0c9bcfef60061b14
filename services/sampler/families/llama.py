"""Family llama: Llama, Mistral, Qwen2, Qwen3, SmolLM and others of that shape.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023: RMS norm before each part,
rotary positions, SwiGLU; grouped queries of Ainslie et al., "GQA", 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.sampler.transformer.model.decoder import Layer, Rotation, as_layers
from services.sampler.transformer.model.weights import Source


@dataclass(frozen=True)
class Config:
    """The sizes, with the names of ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: Mapping[str, Any] = field(default_factory=dict)
    tie_word_embeddings: bool = False
    query_bias: bool = False
    """Bias of the query, key and value projections."""
    attention_bias: bool = False
    """Bias of attention's output projection."""
    mlp_bias: bool = False
    query_norm: bool = False
    """RMS norm over each head's queries and keys (Qwen3)."""


class Block(nn.Module):
    """One layer. Query, key and value are one product, so are gate and up."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, head_dim = config.hidden_size, config.head_dim
        self.heads = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
        self.head_dim = head_dim
        self.attention_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.qkv = nn.Linear(width, sum(self.heads) * head_dim, bias=config.query_bias)
        self.q_norm = nn.RMSNorm(head_dim, eps=config.rms_norm_eps) if config.query_norm else None
        self.k_norm = nn.RMSNorm(head_dim, eps=config.rms_norm_eps) if config.query_norm else None
        self.out = nn.Linear(self.heads[0] * head_dim, width, bias=config.attention_bias)
        self.mlp_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.gate_up = nn.Linear(width, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.down = nn.Linear(config.intermediate_size, width, bias=config.mlp_bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of rows x [rows, hidden_size], not turned yet."""
        rows = self.qkv(self.attention_norm(x)).view(-1, sum(self.heads), self.head_dim)
        q, k, v = rows.split(self.heads, dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rows after attention's result and the feed-forward part are added."""
        x = x + self.out(attended)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        merged: Tensor = x + self.down(functional.silu(gate) * up)
        return merged


class Llama(nn.Module):
    """Embedding, layers, unembedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.weight = self.tokens.weight

    @property
    def layers(self) -> Sequence[Layer]:
        """The blocks."""
        return as_layers(self.blocks)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Each row's token vector."""
        embedded: Tensor = self.tokens(ids)
        return embedded

    def rotation(self, positions: Tensor) -> Rotation:
        """Cosines and sines of the positions, in the precision of the weights."""
        cos, sin = rotation(self.config, positions)
        dtype = self.tokens.weight.dtype
        return cos.to(dtype), sin.to(dtype)

    def unembed(self, x: Tensor) -> Tensor:
        """Logits [rows, vocab_size]."""
        logits: Tensor = self.head(self.norm(x))
        return logits


def build(config: Config) -> Llama:
    """The module, with weights at random."""
    return Llama(config)


def supports(config: Mapping[str, Any]) -> bool:
    """Whether ``config.json`` describes a model that is exactly of this shape."""
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True)
    rope = _rope(config)
    return (
        config.get("hidden_act", "silu") == "silu"
        and not (windowed and config["sliding_window"] < config["max_position_embeddings"])
        and not config.get("use_mrope")
        and rope.get("rope_type", "default") in _ROPES
        and rope.get("partial_rotary_factor", 1.0) == 1.0
    )


def read_config(config: Mapping[str, Any]) -> Config:
    """From ``config.json``. Raises ValueError naming a size that is missing."""
    model_type = config["model_type"]
    try:
        heads = config["num_attention_heads"]
        rope = _rope(config)
        return Config(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            max_position_embeddings=config["max_position_embeddings"],
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            rope_theta=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
            rope_scaling=rope,
            tie_word_embeddings=config.get("tie_word_embeddings", False),
            query_bias=model_type == "qwen2" or config.get("attention_bias", False),
            attention_bias=config.get("attention_bias", False) if model_type != "qwen2" else False,
            mlp_bias=config.get("mlp_bias", False),
            query_norm=model_type == "qwen3",
        )
    except KeyError as error:
        raise ValueError(f"config.json lacks {error.args[0]}") from None


def write_config(config: Config) -> dict[str, Any]:
    """``config.json`` of a model made here."""
    copied = {
        name: getattr(config, name)
        for name in [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
            "rms_norm_eps",
            "rope_theta",
            "tie_word_embeddings",
        ]
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "dtype": "float16",
    } | copied


def sources(config: Config) -> dict[str, Source]:
    """Where each parameter stands in a checkpoint."""
    found = {
        "tokens.weight": Source(("model.embed_tokens.weight",)),
        "norm.weight": Source(("model.norm.weight",)),
    }
    if not config.tie_word_embeddings:
        found["head.weight"] = Source(("lm_head.weight",))
    for number in range(config.num_hidden_layers):
        for own, theirs in _parts(config).items():
            names = tuple(f"model.layers.{number}.{name}" for name in theirs)
            found[f"blocks.{number}.{own}"] = Source(names)
    return found


def write_weights(model: Llama) -> dict[str, Tensor]:
    """The checkpoint that ``sources`` reads, in fp16."""
    config, state = model.config, model.state_dict()
    query, key = (
        heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads)
    )
    sizes = {"qkv.weight": [query, key, key], "gate_up.weight": [config.intermediate_size] * 2}
    written: dict[str, Tensor] = {}
    for own, source in sources(config).items():
        cut = sizes.get(own.partition(".")[2].partition(".")[2])
        parts = state[own].split(cut) if cut else [state[own]]
        written |= {name: part.half().contiguous() for name, part in zip(source.names, parts, strict=True)}
    return written


_ROPES = frozenset({"default", "linear", "llama3"})


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rope settings by their present name or the one before; "type" was what "rope_type" is."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_type": rope["type"], **rope} if "type" in rope else rope


def _parts(config: Config) -> dict[str, tuple[str, ...]]:
    """A layer's parameters and their names in a checkpoint's layer."""
    qkv = tuple(f"self_attn.{letter}_proj" for letter in "qkv")
    products = {
        "qkv": (qkv, config.query_bias),
        "out": (("self_attn.o_proj",), config.attention_bias),
        "gate_up": (("mlp.gate_proj", "mlp.up_proj"), config.mlp_bias),
        "down": (("mlp.down_proj",), config.mlp_bias),
    }
    parts: dict[str, tuple[str, ...]] = {
        "attention_norm.weight": ("input_layernorm.weight",),
        "mlp_norm.weight": ("post_attention_layernorm.weight",),
    }
    if config.query_norm:
        parts |= {
            "q_norm.weight": ("self_attn.q_norm.weight",),
            "k_norm.weight": ("self_attn.k_norm.weight",),
        }
    for own, (theirs, biased) in products.items():
        for suffix in ("weight", "bias") if biased else ("weight",):
            parts[f"{own}.{suffix}"] = tuple(f"{name}.{suffix}" for name in theirs)
    return parts


def rotation(config: Config, positions: Tensor) -> Rotation:
    """Cosines and sines of positions [positions, head_dim / 2]. Raises ValueError for unknown scaling."""
    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions.device)
    frequencies = _scaled(1.0 / config.rope_theta ** (pairs / config.head_dim), config.rope_scaling)
    angles = positions.float().unsqueeze(1) * frequencies
    return angles.cos(), angles.sin()


def _scaled(frequencies: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Angles per position, stretched for windows longer than the model was first trained for."""
    kind = scaling.get("rope_type", "default")
    if kind == "default":
        return frequencies
    if kind == "linear":
        stretched: Tensor = frequencies / scaling["factor"]
        return stretched
    if kind == "llama3":
        return _llama3(frequencies, scaling)
    raise ValueError(f"no rope scaling {kind!r}; there are {', '.join(sorted(_ROPES))}")


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Slow pairs are stretched, fast ones left, those between blended (Llama 3.1)."""
    window = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelength = 2 * math.pi / plain
    blend = ((window / wavelength - low) / (high - low)).clamp(0.0, 1.0)
    blended: Tensor = (1 - blend) * plain / scaling["factor"] + blend * plain
    return blended
