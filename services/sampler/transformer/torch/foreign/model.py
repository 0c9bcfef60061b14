"""Any causal language model that Transformers has code for, with its attention led to this engine's cache.

Transformers' modelling code asks a table for its attention function by name. The one registered here is
handed queries, keys and values of each layer, turned already, and passes them on to whoever steps the model.
What such code could do that a cache of keys and values cannot follow is refused by name.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from services.common.errors import unsupported
from services.sampler.transformer.torch.attention import Attend, How
from services.sampler.transformer.torch.cache import LayerShape
from services.sampler.transformer.torch.foreign.watching import Watch, blocks_of, read_out
from services.sampler.transformer.torch.stepped import Look, watched

NAME = "pequod"
"""What Transformers knows our attention by."""
_KNOWN = frozenset(
    {"scaling", "sliding_window", "softcap", "s_aux", "is_causal"}
    # What modelling code passes along to attention that changes nothing here:
    | {"dropout", "position_ids", "cache", "past_key_values", "use_cache", "cache_position"}
    | {"output_attentions", "output_hidden_states", "return_dict", "logits_to_keep", "output_router_logits"}
)
"""What attention may be given."""
_PROBE = 8
"""Tokens that show what each layer's attention is given."""

_current = threading.local()
"""The ``_Pass`` that this thread runs."""


@dataclass
class _Pass:
    """One pass through a model: attention's calls come layer by layer."""

    attend: Attend
    calls: int = 0


class ForeignModel:
    """A model of Transformers. One pass at a time."""

    def __init__(self, model: Any, device: torch.device) -> None:
        """Raises ValueError naming what of the model's attention cannot be done here."""
        self._model = model
        self._lock = threading.Lock()
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.device = device
        self.dtype = next(model.parameters()).dtype
        self.layers: Sequence[LayerShape]
        self.layers, self.vocabulary = self._probe()

    @property
    def name(self) -> str:
        """The architecture."""
        return str(self._model.config.model_type)

    def logits(self, ids: Tensor, positions: Tensor, wanted: Tensor, attend: Attend) -> Tensor:
        """See ``Stepped``."""
        options = {"logits_to_keep": wanted} if self._keeps else {}
        with self._lock, _passing(attend):
            out = self._model(
                input_ids=ids.unsqueeze(0), position_ids=positions.unsqueeze(0), use_cache=False, **options
            )
        logits: Tensor = out.logits[0] if self._keeps else out.logits[0].index_select(0, wanted)
        return logits.float()

    @torch.inference_mode()
    def plain_logits(self, ids: Tensor) -> Tensor:
        """Logits [tokens, vocabulary] of a whole text by Transformers' own attention."""
        with self._lock:
            self._model.set_attn_implementation("eager")
            try:
                logits: Tensor = self._model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0]
            finally:
                self._model.set_attn_implementation(NAME)
        return logits.float()

    def look(self, ids: Tensor) -> Look:
        """See ``Stepped``."""
        blocks = blocks_of(self._model, len(self.layers))
        attention: list[Tensor] = []
        with self._lock, _passing(watched(attention)), Watch(self._model, blocks) as watch:
            logits: Tensor = self._model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0, -1]
            states = torch.stack([*watch.entered, watch.left])[:, 0]
            readouts = read_out(self._model, watch.norm, states[:, -1])
        if readouts is None or not torch.allclose(readouts[-1], logits, rtol=1e-2, atol=1e-2):
            raise unsupported(f"how {self.name} turns a layer's state into tokens is not known here")
        return Look(states, readouts, attention)

    @torch.inference_mode()
    def _probe(self) -> tuple[list[LayerShape], int]:
        """What each layer keeps, and the vocabulary's size, from a short pass."""
        layers: list[LayerShape] = []
        windows: list[int] = []
        whole = watched([])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
            layers.append(LayerShape(k.shape[1], k.shape[2], v.shape[2]))
            windows.append(how.window)
            return whole(layer, q, k, v, how)

        ids = torch.arange(_PROBE, device=self.device)
        logits = self.logits(ids, ids, ids[-1:], attend)
        config = self._model.config.get_text_config()
        if len(layers) < config.num_hidden_layers:
            raise refusal(self.name, "not all its layers go through Transformers' attention interface")
        _check_windows(self.name, config, windows)
        return layers, logits.shape[1]


@contextlib.contextmanager
def _passing(attend: Attend) -> Iterator[None]:
    """Lead this thread's calls of ``attention`` to ``attend``."""
    _current.run = _Pass(attend)
    try:
        yield
    finally:
        del _current.run


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **given: Any
) -> tuple[Tensor, None]:
    """Attention as Transformers calls it: query [1, heads, rows, width] to [1, rows, heads, value width]."""
    run: _Pass = _current.run
    if attention_mask is not None or given.get("is_causal") is False:
        raise refusal(str(module.config.model_type), "its attention takes a mask of its own")
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    out = run.attend(run.calls, q, k, v, _how(module, given))
    run.calls += 1
    return out.unsqueeze(0), None


def _how(module: Any, given: dict[str, Any]) -> How:
    """What a layer's attention is asked for, by the names that Transformers has for it."""
    strange = [name for name, value in given.items() if value is not None and name not in _KNOWN]
    if strange:
        raise refusal(str(module.config.model_type), f"its attention takes {strange[0]}")
    window, cap = given.get("sliding_window") or 0, given.get("softcap") or 0.0
    return How(given.get("scaling"), window, cap, given.get("s_aux"))


def _check_windows(name: str, config: Any, windows: Sequence[int]) -> None:
    """The layers that slide must be those whose attention was told so: a mask alone tells us nothing."""
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    told = sum(map(bool, windows))
    if kinds is not None and told != sum(kind == "sliding_attention" for kind in kinds):
        raise refusal(name, "its code does not tell attention which layers have a sliding window")
    if kinds is None and window and not told:
        raise refusal(name, "its code does not tell attention of its sliding window")


def refusal(name: str, why: str) -> ValueError:
    """What is said of a model whose architecture asks for more than keys and values."""
    return ValueError(f"the architecture {name!r} cannot be run: {why}")
