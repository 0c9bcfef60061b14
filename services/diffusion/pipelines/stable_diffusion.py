"""Stable Diffusion 1.x and 2.x (Rombach et al., 2022) and SDXL (Podell et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from services.diffusion.engine import Prompts, Reading, Text
from services.diffusion.pipelines.parts.texts import Encoder


class ClipReader:
    """One encoder; 77 tokens."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def read(self, prompts: Prompts, width: int, height: int, guidance: float) -> Reading:
        """The encoder's states of both texts."""
        told, cut = self._encoder.states(prompts.prompt)
        untold, cut_negative = self._encoder.states(prompts.negative)
        texts = [Text({"encoder_hidden_states": each}) for each in (told, untold)]
        return Reading(texts[0], texts[1], cut, cut_negative)


class TwoClipReader:
    """Two encoders, each with a text of its own if there is one; and the picture's size."""

    def __init__(self, first: Encoder, second: Encoder, zeros_for_none: bool) -> None:
        """``zeros_for_none``: what is read in place of no negative text is all zeros."""
        self._first = first
        self._second = second
        self._zeros_for_none = zeros_for_none

    def read(self, prompts: Prompts, width: int, height: int, guidance: float) -> Reading:
        """Both encoders' states side by side, the second's of the whole text, and the size."""
        told, cut = self._text(prompts.prompt, prompts.second, width, height)
        if self._zeros_for_none and not prompts.negative and not prompts.negative_second:
            blank = {name: np.zeros_like(each) for name, each in told.items() if name != "time_ids"}
            return Reading(Text(told), Text(told | blank), cut)
        untold, cut_negative = self._text(prompts.negative, prompts.negative_second, width, height)
        return Reading(Text(told), Text(untold), cut, cut_negative)

    def _text(
        self, first: str, second: str, width: int, height: int
    ) -> tuple[dict[str, np.typing.NDArray[np.float32]], str]:
        states, _, cut = self._first.penultimate(first)
        others, pooled, cut_second = self._second.penultimate(second or first)
        if pooled is None:
            raise ValueError("text_encoder_2 has no projection of whole texts")
        # As large as wanted and nothing cropped: (height, width), (top, left), (height, width).
        size = np.array([height, width, 0, 0, height, width], np.float32)
        inputs = {"encoder_hidden_states": np.concatenate([states, others], -1)}
        return inputs | {"text_embeds": pooled, "time_ids": size}, cut or cut_second


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
