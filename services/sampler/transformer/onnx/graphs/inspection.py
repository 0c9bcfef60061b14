"""The ONNX graph that looks inside a model: one pass over a prompt that gives what happens on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from services.sampler.transformer.model.decoder import Decoder, rotate
from services.sampler.transformer.onnx.graphs.step import export, keep_rotation

OUTPUTS = ("embeddings", "norms", "readouts", "attention")


class Inspection(nn.Module):
    """``forward`` is the graph."""

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, decoder: Decoder, length: int) -> None:
        """``length``: the most positions of a prompt."""
        super().__init__()
        self.decoder = decoder
        keep_rotation(self, decoder, length)

    def forward(self, ids: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of a prompt's ids [tokens] and the positions ``chosen`` to show the attention of:

        embeddings [tokens, hidden_size]; norms [layers + 1, tokens] and readouts [layers + 1, vocab_size] of
        the residual stream, the latter at the last position; attention [layers, heads, chosen, tokens].
        """
        positions = torch.arange(ids.shape[0])
        x = embeddings = self.decoder.embed(ids, positions)
        states, attention = [x], []
        for layer in self.decoder.layers:
            attended, weights = self._attend(*layer.project(x), positions)
            x = layer.merge(x, attended)
            states.append(x)
            attention.append(weights.index_select(1, chosen))
        stream = torch.stack(states)
        readouts = self.decoder.unembed(stream[:, -1])
        return embeddings, stream.norm(dim=-1), readouts, torch.stack(attention)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What each position sees [tokens, heads * head_dim]; its weights [heads, tokens, tokens]."""
        q, k, v = (tensor.transpose(0, 1) for tensor in (q, k, v))
        if self.cos is not None and self.sin is not None:
            tokens = positions.shape[0]
            rotation = self.cos[:tokens], self.sin[:tokens]
            q, k = rotate(q, rotation), rotate(k, rotation)
        groups = q.shape[0] // k.shape[0]
        k, v = k.repeat_interleave(groups, dim=0), v.repeat_interleave(groups, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        later = positions.unsqueeze(0) > positions.unsqueeze(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(dim=-1)
        return (weights @ v).transpose(0, 1).flatten(1), weights


def write(build: Callable[[], Decoder], length: int, file: Path, precision: str) -> None:
    """Write the graph of the decoder that ``build`` makes, for prompts of up to ``length`` tokens.

    It takes the weights of the step's graph.
    """

    def inputs() -> dict[str, Tensor]:
        return {"ids": torch.zeros(5, dtype=torch.int64), "chosen": torch.zeros(2, dtype=torch.int64)}

    tokens, chosen = torch.export.Dim("tokens", max=length), torch.export.Dim("chosen")
    free = {"ids": {0: tokens}, "chosen": {0: chosen}}
    export(lambda: Inspection(build(), length), inputs, free, file, precision, OUTPUTS)
