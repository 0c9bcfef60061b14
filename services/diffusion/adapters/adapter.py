"""An adapter of a diffusion model: changes of its network, and of its text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common import lora


@dataclass(frozen=True, eq=False)
class Adapter(lora.Adapter):
    """``factors`` are the network's."""

    texts: Mapping[int, Mapping[str, lora.Factors]] = field(default_factory=dict)
    """Factors of text encoders, by the encoder's number, from 1, and the layer's name in it."""

    @property
    def nbytes(self) -> int:
        """Memory of all factors."""
        read = (each for layers in self.texts.values() for each in layers.values())
        return super().nbytes + sum(each.down.nbytes + each.up.nbytes for each in read)
