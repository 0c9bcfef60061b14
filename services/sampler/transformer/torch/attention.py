"""What rows see of their own sequence: sequence by sequence on the CPU, all together on CUDA.

On the CPU every product has the sizes that one sequence alone gives it, so that its sums never depend on
who else is in the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from services.sampler.transformer.torch.cache import PagedCache
from services.sampler.transformer.torch.pages import PAGE


@dataclass(frozen=True)
class How:
    """What a layer's attention has beside queries, keys and values."""

    scale: float | None = None
    """Factor of the products; None: 1 / sqrt(head_dim)."""
    window: int = 0
    """Positions that a row sees, its own included; 0: all."""
    cap: float = 0.0
    """Scores are bent to within +-cap by tanh; 0: not."""
    sinks: Tensor | None = None
    """A score for each head [heads] that takes weight and gives nothing."""

    @property
    def is_plain(self) -> bool:
        """Whether fused kernels do it."""
        return not self.cap and self.sinks is None


Attend = Callable[[int, Tensor, Tensor, Tensor, How], Tensor]
"""(layer, q [rows, heads, width], k and v [rows, kv_heads, width], how) -> [rows, heads, value width].

Queries and keys are turned already. Keeps keys and values.
"""


def weights(q: Tensor, k: Tensor, visible: Tensor | None, how: How) -> Tensor:
    """Attention's weights [n, kv_heads, rows, keys] of q and k [n, kv_heads, rows or keys, width].

    ``visible`` [n, 1, rows, keys]; rows are those of a group's first head, then those of its second, ...
    """
    scale = 1.0 / math.sqrt(q.shape[-1]) if how.scale is None else how.scale
    scores = (q @ k.transpose(-1, -2) * scale).float()
    if how.cap:
        scores = torch.tanh(scores / how.cap) * how.cap
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    if how.sinks is None:
        return scores.softmax(dim=-1).to(q.dtype)
    heads, rows = k.shape[1], q.shape[2]
    groups = how.sinks.numel() // heads
    sinks = how.sinks.float().view(1, heads, groups, 1).expand(len(q), -1, -1, rows // groups)
    scores = torch.cat((scores, sinks.reshape(len(q), heads, rows, 1)), dim=-1)
    return scores.softmax(dim=-1)[..., :-1].to(q.dtype)


def see(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, how: How) -> Tensor:
    """[n, rows, heads, value width] of q [n, rows, heads, width] and k, v [n, keys, kv_heads, width].

    ``visible`` [n, rows, keys]: which keys a row sees; None: all.
    """
    n, rows, heads, _ = q.shape
    kv_heads = k.shape[2]
    packed = pack(q, kv_heads)
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    mask = None if visible is None else visible.repeat(1, heads // kv_heads, 1).unsqueeze(1)
    if how.is_plain:
        out = functional.scaled_dot_product_attention(packed, k, v, attn_mask=mask, scale=how.scale)
    else:
        out = weights(packed, k, mask, how) @ v
    out = out.view(n, kv_heads, heads // kv_heads, rows, -1)
    return out.permute(0, 3, 1, 2, 4).reshape(n, rows, heads, -1)


def pack(q: Tensor, kv_heads: int) -> Tensor:
    """Queries [n, rows, heads, width] as [n, kv_heads, heads of a group * rows, width]."""
    n, rows, heads, width = q.shape
    grouped = q.view(n, rows, kv_heads, heads // kv_heads, width)
    return grouped.permute(0, 2, 3, 1, 4).reshape(n, kv_heads, -1, width)


@dataclass(frozen=True)
class Span:
    """Rows of a step that belong to one sequence and follow each other, at most PAGE of them."""

    begin: int
    """Its first row."""
    rows: int
    start: int
    """The position of its first row."""
    pages: Tensor
    """The sequence's pages [pages], as far as its last row needs them."""


def one_by_one(cache: PagedCache, places: Tensor, spans: Sequence[Span]) -> Attend:
    """Attention of each span over exactly the positions up to its own."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        cache.put(layer, places, k, v)
        out = q.new_zeros(*q.shape[:2], v.shape[-1])
        for span in spans:
            first = max(span.start - how.window + 1, 0) // PAGE if how.window else 0
            keys, values = cache.get(layer, span.pages[first:])
            count = span.start + span.rows - first * PAGE
            visible = _visible(span, first * PAGE, count, how)
            rows = slice(span.begin, span.begin + span.rows)
            seen = see(q[None, rows], keys[None, :count], values[None, :count], visible, how)
            out[rows] = seen[0]
        return out

    return attend


def _visible(span: Span, first: int, count: int, how: How) -> Tensor | None:
    """Which of ``count`` keys from position ``first`` on each row of a span sees [1, rows, count]."""
    if span.rows == 1 and not (how.window and first + how.window <= span.start):
        return None
    rows = torch.arange(span.start, span.start + span.rows).unsqueeze(1)
    return _rule(rows, torch.arange(first, first + count), how).unsqueeze(0)


def _rule(rows: Tensor, keys: Tensor, how: How) -> Tensor:
    """Whether a row at a position sees a key at a position; the two broadcast."""
    visible = keys <= rows
    return visible & (keys > rows - how.window) if how.window else visible


@dataclass(frozen=True)
class Together:
    """Sequences of a step with equally many rows each, as tensors on the device."""

    places: Tensor
    """Where each row's keys and values go [sequences * rows], int64."""
    pages: Tensor
    """Pages of each sequence [sequences, pages], int32."""
    lengths: Tensor
    """Positions of each sequence, the new rows included [sequences], int32."""

    @property
    def rows(self) -> int:
        """Rows of each sequence."""
        return len(self.places) // len(self.lengths)


def gathered(cache: PagedCache, step: Together) -> Attend:
    """Attention over copies of all pages named, with a mask, which layers of one window share."""
    masks: dict[int, Tensor] = {}

    def visible(keys: int, how: How) -> Tensor:
        if how.window not in masks:
            order = torch.arange(step.rows, device=cache.device)
            rows = step.lengths.unsqueeze(1) - step.rows + order
            masks[how.window] = _rule(rows.unsqueeze(2), torch.arange(keys, device=cache.device), how)
        return masks[how.window]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        cache.put(layer, step.places, k, v)
        keys, values = cache.get(layer, step.pages)
        asked = q.view(len(step.lengths), step.rows, *q.shape[1:])
        return see(asked, keys, values, visible(keys.shape[1], how), how).flatten(0, 1)

    return attend


def paged(cache: PagedCache, step: Together) -> Attend:
    """Attention that reads the pages where they are: FlashAttention 3, where plain attention is asked for."""
    from torch.nn.attention.varlen import varlen_attn

    count, rows = len(step.lengths), step.rows
    begins = torch.arange(0, count * rows + 1, rows, dtype=torch.int32, device=cache.device)
    otherwise = gathered(cache, step)
    longest = step.pages.shape[1] * PAGE

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        if not how.is_plain or k.shape[-1] != v.shape[-1]:
            return otherwise(layer, q, k, v, how)
        cache.put(layer, step.places, k, v)
        out = varlen_attn(
            q,
            cache.keys[layer],
            cache.values[layer],
            begins,
            None,
            rows,
            longest,
            scale=how.scale,
            window_size=(how.window - 1 if how.window else -1, 0),
            enable_gqa=True,
            seqused_k=step.lengths,
            block_table=step.pages,
        )
        assert isinstance(out, Tensor), "nothing else was asked for"
        return out

    return attend
