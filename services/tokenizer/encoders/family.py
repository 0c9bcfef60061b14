"""What an encoder family's file says of it; everything else is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec

BYTES_PER_FILE_BYTE = 2.5
"""In memory at most: the 32-bit graph, once packed for the CPU, and the 8-bit one with 32-bit embeddings."""


@dataclass(frozen=True)
class EncoderFamily:
    """A shape of encoder that transformers knows."""

    type_ids: bool
    """Its inputs say which text of a pair a token belongs to."""
    positions: Callable[[Mapping[str, Any]], int]
    """Longest input that a model with this config has positions for."""

    def graphs(self, config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
        """The graph of the model in ``folder``. FAILED_PRECONDITION without torch or transformers."""
        try:
            from services.tokenizer.encoders.graphs import encoder_graph
        except ModuleNotFoundError as error:
            raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
        return {"model": encoder_graph(config, folder, self.type_ids)}


def is_reranker(config: Mapping[str, Any]) -> bool:
    """Whether a model reads pairs and gives scores."""
    return any(str(each).endswith("ForSequenceClassification") for each in config.get("architectures") or ())


def all_positions(config: Mapping[str, Any]) -> int:
    """Every position embedding stands for a position."""
    return int(config["max_position_embeddings"])


def positions_after_padding(config: Mapping[str, Any]) -> int:
    """Positions are counted from the one after the padding token's id, as fairseq did."""
    return int(config["max_position_embeddings"]) - int(config.get("pad_token_id", 1)) - 1
