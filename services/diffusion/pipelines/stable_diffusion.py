"""Stable Diffusion 1.x and 2.x (Rombach et al., 2022) and SDXL (Podell et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from typing import Any

import numpy as np
from torch import Tensor

from services.diffusion.adapters.fitting import Sizes
from services.diffusion.engine import Prompts, Reading, Scaled, Text
from services.diffusion.pipelines.parts.texts import Encoder, changes_of


class ClipReader:
    """One encoder; 77 tokens."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def sizes(self) -> Mapping[int, Sizes]:
        """See ``Reader``."""
        return {1: self._encoder.sizes}

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled]
    ) -> Reading:
        """The encoder's states of both texts."""
        changes = changes_of(adapters, 1)
        told, cut = self._encoder.states(prompts.prompt, changes)
        untold, cut_negative = self._encoder.states(prompts.negative, changes)
        texts = [Text({"encoder_hidden_states": each}) for each in (told, untold)]
        return Reading(texts[0], texts[1], cut, cut_negative)


class TwoClipReader:
    """Two encoders, each with a text of its own if there is one; and the picture's size."""

    def __init__(self, first: Encoder, second: Encoder, zeros_for_none: bool) -> None:
        """``zeros_for_none``: what is read in place of no negative text is all zeros."""
        self._first = first
        self._second = second
        self._zeros_for_none = zeros_for_none

    @property
    def sizes(self) -> Mapping[int, Sizes]:
        """See ``Reader``."""
        return {1: self._first.sizes, 2: self._second.sizes}

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled]
    ) -> Reading:
        """Both encoders' states side by side, the second's of the whole text, and the size."""
        # Height and width, what is cropped at the top and the left (nothing), height and width as wanted.
        size = {"time_ids": np.array([height, width, 0, 0, height, width], np.float32)}
        told, cut = self._text(prompts.prompt, prompts.second, adapters)
        if self._zeros_for_none and not prompts.negative and not prompts.negative_second:
            blank = {name: np.zeros_like(each) for name, each in told.items()}
            return Reading(Text(told | size), Text(blank | size), cut)
        untold, cut_negative = self._text(prompts.negative, prompts.negative_second, adapters)
        return Reading(Text(told | size), Text(untold | size), cut, cut_negative)

    def _text(
        self, first: str, second: str, adapters: Rows[Scaled]
    ) -> tuple[dict[str, np.typing.NDArray[np.float32]], str]:
        states, _, cut = self._first.penultimate(first, changes_of(adapters, 1))
        others, pooled, cut_second = self._second.penultimate(second or first, changes_of(adapters, 2))
        if pooled is None:
            raise ValueError("text_encoder_2 has no projection of whole texts")
        inputs = {"encoder_hidden_states": np.concatenate([states, others], -1), "text_embeds": pooled}
        return inputs, cut or cut_second


def ask_unet(unet: Any, samples: Tensor, timesteps: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Rows of any timesteps: latents [n, 4, height, width], states [n, 77, width]."""
    added = {name: inputs[name] for name in ("text_embeds", "time_ids") if name in inputs}
    said: Tensor = unet(
        samples,
        timesteps,
        encoder_hidden_states=inputs["encoder_hidden_states"],
        added_cond_kwargs=added or None,
        return_dict=False,
    )[0]
    return said
