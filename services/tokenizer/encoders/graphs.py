"""Encoders as graphs to export: transformers' own modules, and around them what a caller needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from services.common.export.graph import GraphSpec
from services.common.pretrained import load_pretrained
from services.tokenizer.encoders.directory import read_encoder
from services.tokenizer.encoders.family import is_reranker
from services.tokenizer.engine import Pooling

STATES = "token_embeddings"
SENTENCE = "sentence_embedding"
SCORES = "logits"

_ROWS, _TOKENS = 3, 12
_UNUSED = ("pooler.",)
"""Weights that a checkpoint may lack because nothing here reads them."""


class SentenceEncoder(nn.Module):
    """An encoder with its configured pooling, so that the graph is useful to other runtimes as it is."""

    def __init__(self, model: nn.Module, pooling: Pooling, normalize: bool) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.normalize = normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and mask, [batch, tokens], to states, [batch, tokens, size], and vectors, [batch, size]."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = _pool(states, attention_mask, self.pooling)
        return states, nn.functional.normalize(pooled, dim=-1) if self.normalize else pooled


class PairScorer(nn.Module):
    """A cross-encoder: pairs to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask [batch, tokens] to logits [batch, labels]."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits  # type: ignore[no-any-return]


class TypedPairScorer(PairScorer):
    """The same for models that ask which text of a pair each token belongs to."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:  # type: ignore[override]
        """Ids, mask and type ids [batch, tokens] to logits [batch, labels]."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return self.model(**inputs).logits  # type: ignore[no-any-return]


def encoder_graph(config: Mapping[str, Any], folder: Path, type_ids: bool) -> GraphSpec:
    """The graph of the encoder or cross-encoder in ``folder``. Raises ValueError naming what does not fit."""
    inputs = _example(int(config["vocab_size"]))
    if is_reranker(config):
        model = load_pretrained(transformers.AutoModelForSequenceClassification, folder, _UNUSED)
        module: nn.Module = TypedPairScorer(model) if type_ids else PairScorer(model)
        if type_ids:
            inputs["token_type_ids"] = (torch.arange(_TOKENS) >= _TOKENS // 2).long().repeat(_ROWS, 1)
        outputs: tuple[str, ...] = (SCORES,)
    else:
        read = read_encoder(config, folder, _TOKENS)
        module = SentenceEncoder(
            load_pretrained(transformers.AutoModel, folder, _UNUSED), read.pooling, read.normalize
        )
        outputs = (STATES, SENTENCE)
    dynamic = {name: {0: "batch", 1: "tokens"} for name in inputs}
    return GraphSpec(module, inputs, outputs, dynamic)


def _example(vocabulary: int) -> dict[str, Tensor]:
    ids = (torch.arange(_ROWS * _TOKENS) * 7919 % vocabulary).reshape(_ROWS, _TOKENS)
    mask = torch.ones_like(ids)
    mask[1, _TOKENS // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    if pooling is Pooling.CLS:
        return states[:, 0]
    if pooling is Pooling.LAST:
        last = mask.sum(dim=1) - 1
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
    weights = mask[..., None].to(states.dtype)
    if pooling is Pooling.MAX:
        return (states - (1 - weights) * 1e9).amax(dim=1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
