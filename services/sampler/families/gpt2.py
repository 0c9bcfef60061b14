"""Family gpt2: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

Layer norm before each part, learnt positions, GELU by its tanh form, biases everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from services.sampler.transformer.model.decoder import Layer, as_layers
from services.sampler.transformer.model.weights import Source


@dataclass(frozen=True)
class Config:
    """The sizes, with the names that Llama's ``config.json`` has for them."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True

    @property
    def num_key_value_heads(self) -> int:
        """Every query has its own keys and values."""
        return self.num_attention_heads

    @property
    def head_dim(self) -> int:
        """The width is divided among the heads."""
        return self.hidden_size // self.num_attention_heads


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.up = nn.Linear(width, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of rows x [rows, hidden_size]."""
        rows = self.qkv(self.attention_norm(x)).view(-1, 3 * self.heads, self.head_dim)
        q, k, v = rows.split(self.heads, dim=1)
        return q, k, v

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rows after attention's result and the feed-forward part are added."""
        x = x + self.out(attended)
        merged: Tensor = x + self.down(functional.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))
        return merged


class Gpt2(nn.Module):
    """Embedding of tokens and positions, layers, unembedding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.weight = self.tokens.weight

    @property
    def layers(self) -> Sequence[Layer]:
        """The blocks."""
        return as_layers(self.blocks)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Each row's token vector and position vector, added."""
        embedded: Tensor = self.tokens(ids) + self.places(positions)
        return embedded

    def rotation(self, positions: Tensor) -> None:
        """Positions are embedded."""
        return

    def unembed(self, x: Tensor) -> Tensor:
        """Logits [rows, vocab_size]."""
        logits: Tensor = self.head(self.norm(x))
        return logits


def build(config: Config) -> Gpt2:
    """The module, with weights at random."""
    return Gpt2(config)


def rotation(config: Config, positions: Tensor) -> None:
    """Nothing is turned."""
    return


def supports(config: Mapping[str, Any]) -> bool:
    """Whether ``config.json`` describes a model that is exactly of this shape."""
    return (
        config.get("activation_function", "gelu_new") in {"gelu_new", "gelu_pytorch_tanh"}
        and config.get("scale_attn_weights", True)
        and not config.get("scale_attn_by_inverse_layer_idx", False)
        and not config.get("add_cross_attention", False)
    )


def read_config(config: Mapping[str, Any]) -> Config:
    """From ``config.json``. Raises ValueError naming a size that is missing."""
    try:
        return Config(
            vocab_size=config["vocab_size"],
            hidden_size=config["n_embd"],
            intermediate_size=config.get("n_inner") or 4 * config["n_embd"],
            num_hidden_layers=config["n_layer"],
            num_attention_heads=config["n_head"],
            max_position_embeddings=config["n_positions"],
            layer_norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
            tie_word_embeddings=config.get("tie_word_embeddings", True),
        )
    except KeyError as error:
        raise ValueError(f"config.json lacks {error.args[0]}") from None


def sources(config: Config) -> dict[str, Source]:
    """Where each parameter stands in a checkpoint, whose products are stored [in, out]."""
    found = {
        "tokens.weight": Source(("transformer.wte.weight",)),
        "places.weight": Source(("transformer.wpe.weight",)),
        "norm.weight": Source(("transformer.ln_f.weight",)),
        "norm.bias": Source(("transformer.ln_f.bias",)),
    }
    if not config.tie_word_embeddings:
        found["head.weight"] = Source(("lm_head.weight",))
    for number in range(config.num_hidden_layers):
        for own, theirs in _PARTS.items():
            for suffix in ("weight", "bias"):
                name = f"transformer.h.{number}.{theirs}.{suffix}"
                transposed = suffix == "weight" and not own.endswith("norm")
                found[f"blocks.{number}.{own}.{suffix}"] = Source((name,), transposed)
    return found


_PARTS = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
