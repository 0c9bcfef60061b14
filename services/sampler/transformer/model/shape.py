"""The sizes that whoever runs a transformer must know, named as in ``config.json``."""

from __future__ import annotations

from typing import Protocol


class Shape(Protocol):
    """A family's ``Config`` has these, whatever else it has."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def max_position_embeddings(self) -> int: ...
