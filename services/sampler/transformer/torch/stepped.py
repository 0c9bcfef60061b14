"""What the runner steps: rows in, logits out, with attention handed in; and our families as that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from services.common.errors import unsupported
from services.sampler.engine import Inside
from services.sampler.ngrams.alphabet import Ids
from services.sampler.transformer import answers
from services.sampler.transformer.choice import log_sum_of
from services.sampler.transformer.model.decoder import Attend as OwnAttend
from services.sampler.transformer.model.decoder import Decoder, rotate, transform
from services.sampler.transformer.torch.attention import Attend, How, pack, weights
from services.sampler.transformer.torch.cache import LayerShape

_PLAIN = How()


@dataclass(frozen=True)
class Look:
    """What one pass over a prompt shows."""

    states: Tensor
    """The residual stream [layers + 1, tokens, hidden_size]."""
    readouts: Tensor
    """Logits of the last position of each state [layers + 1, vocabulary]."""
    attention: Sequence[Tensor]
    """Of each layer [heads, tokens, tokens]."""


class Stepped(Protocol):
    """A model on its device, in its precision."""

    vocabulary: int
    layers: Sequence[LayerShape]
    """What each layer's attention keeps of a position."""
    dtype: torch.dtype
    device: torch.device

    def logits(self, ids: Tensor, positions: Tensor, wanted: Tensor, attend: Attend) -> Tensor:
        """Logits [wanted, vocabulary] in 32 bits, of rows with ids and positions [rows], of any sequences."""
        ...

    def look(self, ids: Tensor) -> Look:
        """What happens to a prompt's ids [tokens]. UNSUPPORTED for models that cannot be looked into."""
        ...


class OwnModel:
    """A decoder of one of our families."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype, device: torch.device) -> None:
        shape = decoder.config
        self.vocabulary = shape.vocab_size
        width = shape.head_dim
        layer = LayerShape(shape.num_key_value_heads, width, width)
        self.layers: Sequence[LayerShape] = [layer] * shape.num_hidden_layers
        self.dtype, self.device = dtype, device
        self._decoder = decoder

    def logits(self, ids: Tensor, positions: Tensor, wanted: Tensor, attend: Attend) -> Tensor:
        """See ``Stepped``."""
        x = transform(self._decoder, ids, positions, self._turned(positions, attend))
        return self._decoder.unembed(x.index_select(0, wanted)).float()

    def look(self, ids: Tensor) -> Look:
        """See ``Stepped``."""
        positions, decoder = torch.arange(len(ids), device=self.device), self._decoder
        attention: list[Tensor] = []
        attend = self._turned(positions, watched(attention))
        states = [decoder.embed(ids, positions)]
        for number, layer in enumerate(decoder.layers):
            x = states[-1]
            states.append(layer.merge(x, attend(number, *layer.project(x))))
        stream = torch.stack(states)
        return Look(stream, decoder.unembed(stream[:, -1]), attention)

    def _turned(self, positions: Tensor, attend: Attend) -> OwnAttend:
        """A decoder's attention, which turns queries and keys, on the runner's, which does not."""
        rotation = self._decoder.rotation(positions)
        turn = None if rotation is None else (rotation[0].unsqueeze(1), rotation[1].unsqueeze(1))

        def turned(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if turn is not None:
                q, k = rotate(q, turn), rotate(k, turn)
            return attend(layer, q, k, v, _PLAIN).flatten(1)

        return turned


def watched(seen: list[Tensor]) -> Attend:
    """Attention of one whole sequence, which appends each layer's weights [heads, rows, rows] to ``seen``."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        rows, heads, _ = q.shape
        order = torch.arange(rows, device=q.device)
        visible = order <= order.unsqueeze(1)
        if how.window:
            visible &= order > order.unsqueeze(1) - how.window
        packed = pack(q.unsqueeze(0), k.shape[1])
        mask = visible.repeat(heads // k.shape[1], 1)[None, None]
        shares = weights(packed, k.transpose(0, 1).unsqueeze(0), mask, how)
        seen.append(shares.reshape(heads, rows, rows))
        out = shares @ v.transpose(0, 1).unsqueeze(0)
        return out.reshape(heads, rows, -1).transpose(0, 1)

    return attend


class TorchInspector:
    """Looks inside a model that is stepped here too."""

    def __init__(self, model: Stepped) -> None:
        self._model = model

    @torch.inference_mode()
    def look(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """What happens to a prompt's ids, with the attention of the positions ``chosen``."""
        seen = self._model.look(torch.from_numpy(ids).to(self._model.device))
        if len({shares.shape for shares in seen.attention}) > 1:
            raise unsupported("a look inside shows attention of layers with equally many heads only")
        attention = torch.stack([shares[:, torch.from_numpy(chosen)] for shares in seen.attention])
        states = seen.states.float().cpu()
        readouts = seen.readouts.float().cpu().numpy()
        return Inside(
            embeddings=states[0].numpy(),
            norms=states.norm(dim=-1).numpy(),
            readouts=[answers.position(0, row, log_sum_of(row), top).top for row in readouts],
            attention=np.ascontiguousarray(attention.float().cpu().numpy()),
        )
