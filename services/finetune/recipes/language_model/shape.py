"""The network that options ask for."""

from __future__ import annotations

from services.finetune.recipes.language_model.options import Options
from services.sampler.families.llama import Config


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
