"""Mixtures of experts whose products do not depend on how many rows chose the same expert."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from services.sampler.transformer.torch.pages import up

NAME = "pequod_padded"
"""What Transformers knows these experts by."""
_ROWS = 16


def padded_experts(experts: Any, rows: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """What the experts make of rows [rows, width]: ``chosen`` and ``shares`` [rows, experts of a row].

    Each expert's product gets a multiple of 16 rows, and a row's results are added in the order in which
    it chose, so that a row's sums are the same in any company. ``experts``: a module that Transformers'
    ``use_experts_implementation`` describes.
    """
    results = rows.new_zeros(*chosen.shape, rows.shape[1])
    for number in torch.unique(chosen).tolist():
        if number >= experts.num_experts:
            continue  # a place that the router left empty
        which, place = torch.where(chosen == number)
        padded = functional.pad(rows[which], (0, 0, 0, up(len(which), _ROWS) - len(which)))
        results[which, place] = _expert(experts, number, padded)[: len(which)]
    return (results * shares.unsqueeze(-1)).sum(dim=1).to(rows.dtype)


def _expert(experts: Any, number: int, x: Tensor) -> Tensor:
    """One expert's feed-forward part of x [rows, width]."""
    if experts.has_gate:
        x = experts._apply_gate(_linear(experts, "gate_up_proj", number, x))
    else:
        x = experts.act_fn(_linear(experts, "up_proj", number, x))
    x = _linear(experts, "down_proj", number, x)
    return experts.post_expert_norm(x) if experts.has_post_expert_norm else x


def _linear(experts: Any, name: str, number: int, x: Tensor) -> Tensor:
    weight = getattr(experts, name)[number]
    bias = getattr(experts, f"{name}_bias")[number] if experts.has_bias else None
    return functional.linear(x, weight.T if experts.is_transposed else weight, bias)
