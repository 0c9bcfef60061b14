"""Texts as pipelines read them: CLIP's and T5's encoders with their tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from services.common.lora import Factors
from services.diffusion import engine
from services.diffusion.adapters.fitting import Sizes, own
from services.diffusion.pipelines.parts.placing import Place, Resting

Values = npt.NDArray[np.float32]

Change = tuple[Mapping[str, Factors], float]
"""An adapter's factors of a text encoder's layers, and how strongly they count."""


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
    """One of Transformers' text encoders. May be asked in several threads at once."""

    def __init__(self, model: Any, tokenizer: Tokenizer, place: Place) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._resting = Resting(model, place)
        self._is_masked = bool(getattr(model.config, "use_attention_mask", False))
        linears = {name: each for name, each in model.named_modules() if isinstance(each, nn.Linear)}
        self._weights = {_bare(name): f"{name}.weight" for name in linears}
        self.sizes: Sizes = {
            _bare(name): (each.in_features, each.out_features) for name, each in linears.items()
        }
        """Of the layers that adapters can change."""

    def states(self, text: str, changes: Several[Change]) -> tuple[Values, str]:
        """What it says of each token in the end, [room, width]; and what was cut off the text."""
        said, cut = self._ask(text, changes)
        return _values(said[0]), cut

    def penultimate(self, text: str, changes: Several[Change]) -> tuple[Values, Values | None, str]:
        """Its states before the last layer; the projection of the whole text, if it has one; what was cut.

        Podell et al., "SDXL", 2023, section 2.1.
        """
        said, cut = self._ask(text, changes, output_hidden_states=True)
        pooled = _values(said[0]) if said[0].ndim == 2 else None
        return _values(said.hidden_states[-2]), pooled, cut

    def pooled(self, text: str, changes: Several[Change]) -> tuple[Values, str]:
        """What it says of the whole text, [width]; and what was cut."""
        said, cut = self._ask(text, changes)
        return _values(said.pooler_output), cut

    @torch.inference_mode()
    def _ask(self, text: str, changes: Several[Change], **more: Any) -> tuple[Any, str]:
        tokens = self._tokenizer.read(text)
        device = self._resting.device
        if self._is_masked:
            more["attention_mask"] = tokens.shown.to(device)
        with self._resting.at_work():
            # Not by changing the module, which another request may be going through.
            said = functional_call(self._model, self._changed(changes), (tokens.ids.to(device),), more)
        return said, tokens.cut

    def _changed(self, changes: Several[Change]) -> dict[str, Tensor]:
        """The weights with the adapters' products added, by their names; only those that change."""
        weights: dict[str, Tensor] = {}
        for factors, scale in changes:
            for layer, each in factors.items():
                name = self._weights[layer]
                weight = weights.get(name, self._model.get_parameter(name))
                up, down = (torch.from_numpy(half).to(weight) for half in (each.up, each.down))
                weights[name] = weight.addmm(up, down, alpha=scale)
        return weights


def changes_of(adapters: Several[tuple[engine.Adapter, float]], number: int) -> list[Change]:
    """What adapters, with their scales, change of text encoder ``number``."""
    mine = [(own(adapter).texts.get(number), scale) for adapter, scale in adapters]
    return [(factors, scale) for factors, scale in mine if factors]


def _bare(layer: str) -> str:
    """A layer's name as adapters' files have it; some of the library's encoders lie in one more module."""
    return layer.removeprefix("text_model.")


def _values(states: Tensor) -> Values:
    """The only row of [1, ...]."""
    values: Values = states[0].float().cpu().numpy()
    return values
