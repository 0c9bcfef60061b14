"""What every transformer family is: embedding, layers around attention, unembedding; and how they run.

Rows are tokens, of any sequences in any order: a family never knows which rows belong together. Only
attention does, and that is the runner's, which keeps the keys and values and hands in ``attend``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from services.sampler.transformer.model.shape import Shape

D = TypeVar("D")

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of positions, [positions, head_dim / 2] each."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [rows, heads, head_dim], k and v [rows, kv_heads, head_dim]) -> [rows, heads * head_dim].

Turns queries and keys by their positions, keeps keys and values, and gives each row what it sees of its own
sequence up to itself.
"""


class Layer(Protocol):
    """One transformer block, cut where its rows look at each other."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of rows x [rows, hidden_size], not turned yet."""
        ...

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rows after attention's result and the feed-forward part are added."""
        ...


class Decoder(Protocol):
    """A family's module. All tensors that vary come in as arguments, so that it can be exported."""

    @property
    def config(self) -> Shape: ...

    @property
    def layers(self) -> Sequence[Layer]: ...

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The matrix that goes in: [rows, hidden_size] of ids and positions [rows]."""
        ...

    def rotation(self, positions: Tensor) -> Rotation | None:
        """What turns queries and keys at these positions; None where positions are embedded instead."""
        ...

    def unembed(self, x: Tensor) -> Tensor:
        """Logits [rows, vocab_size]."""
        ...


def transform(decoder: Decoder, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    """Embedding and all layers: [rows, hidden_size] of ids and positions [rows]."""
    x = decoder.embed(ids, positions)
    for number, layer in enumerate(decoder.layers):
        x = layer.merge(x, attend(number, *layer.project(x)))
    return x


def causal(batch: int, length: int, rotation: Rotation | None) -> Attend:
    """Attention of ``batch`` whole sequences of ``length`` rows each, one after the other; keeps nothing.

    ``rotation`` is that of positions 0 .. length - 1.
    """

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (tensor.view(batch, length, *tensor.shape[1:]).transpose(1, 2) for tensor in (q, k, v))
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        grouped = k.shape[1] != q.shape[1]
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return out.transpose(1, 2).reshape(batch * length, -1)

    return attend


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotary positions of x [..., positions, head_dim]: Su et al., "RoFormer", 2021, halves paired."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def on_meta(build: Callable[[], D]) -> D:
    """What ``build`` makes, without memory for its weights."""
    with torch.device("meta"):
        return build()


def as_layers(modules: torch.nn.ModuleList) -> Sequence[Layer]:
    """A module list as the layers that it holds."""
    return cast(Sequence[Any], modules)
