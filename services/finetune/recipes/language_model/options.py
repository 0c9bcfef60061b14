"""What can be chosen about a language model and its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.finetune.recipes.options import lasting
from services.sampler.families.llama import Config

_PASSING = frozenset({"threads", "save_every", "evaluate_every", "at_once", "baseline_order"})


@dataclass(frozen=True)
class Options:
    """Shape and training; the defaults are those of the shipped ``storyteller``."""

    vocabulary: int = 8192
    width: int = 256
    hidden: int = 576
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    window: int = 512
    """Tokens of context, in training and afterwards."""
    steps: int = 1840
    batch: int = 12
    """Windows in a step."""
    at_once: int = 2
    """Windows in the network together: on a CPU few, so that they stay near it."""
    muon_rate: float = 0.02
    """Peak rate of the layers' matrices."""
    adam_rate: float = 0.005
    """Peak rate of everything else."""
    warm_up: int = 100
    decay: float = 0.1
    """Weight decay of the layers' matrices."""
    save_every: int = 20
    evaluate_every: int = 200
    seed: int = 1
    threads: int = 1
    baseline_order: int = 5
    """The longest n-grams that the result is compared with."""

    @property
    def lasting(self) -> dict[str, Any]:
        """The options that a checkpoint cannot change under."""
        return lasting(self, _PASSING)


def config_of(options: Options) -> Config:
    """The model's sizes."""
    return Config(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.width // options.heads,
        max_position_embeddings=options.window,
        tie_word_embeddings=True,
    )
