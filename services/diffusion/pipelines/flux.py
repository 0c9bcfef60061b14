"""Flux (Black Forest Labs, 2024): a transformer over 2 x 2 patches of latents, trained by flow matching."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.diffusion.adapters.fitting import Sizes
from services.diffusion.engine import Prompts, Reading, Scaled, Text
from services.diffusion.pipelines.parts.texts import Encoder, changes_of

PATCH = 2
_LEVELS = 1000.0


class FluxReader:
    """CLIP reads the whole text, T5 its words."""

    def __init__(self, first: Encoder, second: Encoder, takes_guidance: bool) -> None:
        self._first = first
        self._second = second
        self._takes_guidance = takes_guidance

    @property
    def sizes(self) -> Mapping[int, Sizes]:
        """See ``Reader``."""
        return {1: self._first.sizes, 2: self._second.sizes}

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled]
    ) -> Reading:
        """States, the whole text, and how strongly it steers; there is no text to steer against."""
        pooled, cut_first = self._first.pooled(prompts.prompt, changes_of(adapters, 1))
        states, cut = self._second.states(prompts.second or prompts.prompt, changes_of(adapters, 2))
        inputs = {"encoder_hidden_states": states, "pooled_projections": pooled}
        if self._takes_guidance:
            inputs["guidance"] = np.array(guidance, np.float32)
        told = Text(inputs)
        # What T5 read in full is lost to CLIP only, which says little here; as long as it is one text.
        return Reading(told, told, cut or (cut_first if prompts.second else ""))


def ask_transformer(
    transformer: Any, samples: Tensor, timesteps: Tensor, inputs: Mapping[str, Tensor]
) -> Tensor:
    """Rows of any timesteps: latents [n, 16, height, width], states [n, tokens, width], texts [n, width]."""
    height, width = samples.shape[-2:]
    tokens = inputs["encoder_hidden_states"].shape[1]
    said = transformer(
        hidden_states=packed(samples),
        timestep=timesteps.to(samples.dtype) / _LEVELS,
        guidance=inputs.get("guidance"),
        pooled_projections=inputs["pooled_projections"],
        encoder_hidden_states=inputs["encoder_hidden_states"],
        txt_ids=samples.new_zeros(tokens, 3),
        img_ids=positions(height // PATCH, width // PATCH).to(samples),
        return_dict=False,
    )[0]
    return unpacked(said, height, width)


def packed(latents: Tensor) -> Tensor:
    """[n, channels, height, width] -> [n, height * width / 4, channels * 4]."""
    n, channels, height, width = latents.shape
    patches = latents.view(n, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * PATCH**2)


def unpacked(patches: Tensor, height: int, width: int) -> Tensor:
    """The reverse of ``packed``."""
    n, _, wide = patches.shape
    places = patches.view(n, height // PATCH, width // PATCH, wide // PATCH**2, PATCH, PATCH)
    return places.permute(0, 3, 1, 4, 2, 5).reshape(n, wide // PATCH**2, height, width)


def positions(rows: int, columns: int) -> Tensor:
    """Where each patch is, [rows * columns, 3]: 0, its row, its column."""
    places = torch.zeros(rows, columns, 3)
    places[..., 1] += torch.arange(rows)[:, None]
    places[..., 2] += torch.arange(columns)[None, :]
    return places.reshape(-1, 3)
