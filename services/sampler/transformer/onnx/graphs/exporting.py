"""The graph that leaves for other runtimes: plain operators, keys and values as inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.common.export.graph import GraphSpec
from services.sampler.transformer.model.decoder import on_meta, rotate, transform
from services.sampler.transformer.model.directory import describe, family_of
from services.sampler.transformer.model.weights import Weights, fill

_EXAMPLE = {"batch": 2, "tokens": 3, "past": 4}


class CachedDecoder(nn.Module):
    """A decoder that appends to keys and values handed in. ``forward`` is the graph."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        past_mask: Tensor,
        past_keys: Tensor,
        past_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [batch, tokens, vocab_size], and keys and values with the new positions at their end.

        input_ids, position_ids [batch, tokens]; past_mask [batch, past], 0 where a row has no position;
        past_keys and past_values [batch, layers, kv_heads, past, head_dim]. No axis may be empty, so a text
        begins after one position whose mask is 0.
        """
        batch, tokens = input_ids.shape
        rows = position_ids.flatten()
        rotation = self.decoder.rotation(rows)
        order = torch.arange(tokens)
        causal = (order[None] <= order[:, None]).expand(batch, tokens, tokens)
        before = (past_mask != 0).unsqueeze(1).expand(-1, tokens, -1)
        mask = torch.cat((before, causal), dim=2).unsqueeze(1)
        keys, values = [], []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (part.view(batch, tokens, *part.shape[1:]).transpose(1, 2) for part in (q, k, v))
            if rotation is not None:
                cos, sin = (part.view(batch, 1, tokens, -1) for part in rotation)
                q, k = rotate(q, (cos, sin)), rotate(k, (cos, sin))
            k = torch.cat((past_keys[:, layer], k), dim=2)
            v = torch.cat((past_values[:, layer], v), dim=2)
            keys.append(k)
            values.append(v)
            groups = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return out.transpose(1, 2).flatten(2).flatten(0, 1)

        x = transform(self.decoder, input_ids.flatten(), rows, attend)
        logits = self.decoder.unembed(x).view(batch, tokens, -1)
        return logits, torch.stack(keys, dim=1), torch.stack(values, dim=1)


def graphs(folder: Path) -> Mapping[str, GraphSpec]:
    """The graph of the model in ``folder``, in 32 bits. Raises ValueError naming what is wrong."""
    description = describe(folder)
    family = family_of(description)
    config = family.read_config(description.config)
    decoder = on_meta(lambda: family.build(config))
    fill(decoder, Weights(folder), family.sources(config))
    decoder.eval()
    return {"model": GraphSpec(CachedDecoder(decoder), _example(config), _OUTPUTS, _FREE)}


_OUTPUTS = ("logits", "keys", "values")
_FREE = {
    "input_ids": {0: "batch", 1: "tokens"},
    "position_ids": {0: "batch", 1: "tokens"},
    "past_mask": {0: "batch", 1: "past"},
    "past_keys": {0: "batch", 3: "past"},
    "past_values": {0: "batch", 3: "past"},
}


def _example(config: Any) -> dict[str, Tensor]:
    """Two sequences, one of which is shorter by two positions."""
    batch, tokens, past = _EXAMPLE["batch"], _EXAMPLE["tokens"], _EXAMPLE["past"]
    chance = torch.Generator().manual_seed(0)
    cache = (batch, config.num_hidden_layers, config.num_key_value_heads, past, config.head_dim)
    mask = torch.ones(batch, past, dtype=torch.int64)
    mask[1, :2] = 0
    places = past + torch.arange(tokens)
    return {
        "input_ids": torch.randint(config.vocab_size, (batch, tokens), generator=chance),
        "position_ids": torch.stack((places, places - 2)),
        "past_mask": mask,
        "past_keys": torch.randn(cache, generator=chance),
        "past_values": torch.randn(cache, generator=chance),
    }
