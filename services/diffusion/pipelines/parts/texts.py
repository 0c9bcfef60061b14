"""Texts as pipelines read them: CLIP's and T5's encoders with their tokenizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.diffusion.pipelines.parts.placing import Place, Resting

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Tokens:
    """A text in an encoder's tokens, as many as it always reads."""

    ids: Tensor
    """[1, room]."""
    shown: Tensor
    """[1, room]: 0 for what only fills the room."""
    cut: str
    """The end of the text that there was no room for, as it was written."""


class Tokenizer:
    """One of Hugging Face's, with room for a fixed number of tokens."""

    def __init__(self, tokenizer: Any, room: int | None = None) -> None:
        self._tokenizer = tokenizer
        self.room = room or int(tokenizer.model_max_length)

    def read(self, text: str) -> Tokens:
        """Cut and fill as the library does with ``truncation`` and ``padding="max_length"``.

        Its own way changes the tokenizer's settings for each call, which two threads may not do at once.
        """
        read = self._tokenizer(text, return_offsets_mapping=True, verbose=False)
        ids, offsets = list(read["input_ids"]), list(read["offset_mapping"])
        ends = self._ends(ids)
        cut = ""
        if len(ids) > self.room:
            kept = self.room - ends
            cut = text[offsets[kept][0] :].strip()
            ids = ids[:kept] + ids[len(ids) - ends :]
        filled = [self._tokenizer.pad_token_id] * (self.room - len(ids))
        shown = [1] * len(ids) + [0] * len(filled)
        return Tokens(torch.tensor([ids + filled]), torch.tensor([shown]), cut)

    def _ends(self, ids: list[int]) -> int:
        """How many tokens that are no text stand at the end."""
        return 1 if ids and ids[-1] == self._tokenizer.eos_token_id else 0


class Encoder:
    """One of Transformers' text encoders."""

    def __init__(self, model: Any, tokenizer: Tokenizer, place: Place) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._resting = Resting(model, place)
        self._is_masked = bool(getattr(model.config, "use_attention_mask", False))

    def states(self, text: str) -> tuple[Values, str]:
        """What it says of each token in the end, [room, width]; and what was cut off the text."""
        said, cut = self._ask(text)
        return _values(said[0]), cut

    def penultimate(self, text: str) -> tuple[Values, Values | None, str]:
        """Its states before the last layer; the projection of the whole text, if it has one; what was cut.

        Podell et al., "SDXL", 2023, section 2.1.
        """
        said, cut = self._ask(text, output_hidden_states=True)
        pooled = _values(said[0]) if said[0].ndim == 2 else None
        return _values(said.hidden_states[-2]), pooled, cut

    def pooled(self, text: str) -> tuple[Values, str]:
        """What it says of the whole text, [width]; and what was cut."""
        said, cut = self._ask(text)
        return _values(said.pooler_output), cut

    @torch.inference_mode()
    def _ask(self, text: str, **more: bool) -> tuple[Any, str]:
        tokens = self._tokenizer.read(text)
        device = self._resting.device
        if self._is_masked:
            return self._run(
                tokens.ids.to(device), attention_mask=tokens.shown.to(device), **more
            ), tokens.cut
        return self._run(tokens.ids.to(device), **more), tokens.cut

    def _run(self, ids: Tensor, **more: Any) -> Any:
        with self._resting.at_work():
            return self._model(ids, **more)


def _values(states: Tensor) -> Values:
    """The only row of [1, ...]."""
    values: Values = states[0].float().cpu().numpy()
    return values
