"""A pipeline as the service sees a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.diffusion.engine import Adapters, Denoiser, Pixels, Prompts, Reading, Traits
from services.diffusion.pipelines.parts.pictures import Pictures
from services.diffusion.schedulers.levels import Array, Levels


class Reader(Protocol):
    """Texts as the network of one architecture reads them."""

    def read(self, prompts: Prompts, width: int, height: int, guidance: float) -> Reading:
        """See ``Model.read``."""
        ...


@dataclass(eq=False)
class Pipeline:
    """Implements ``services.diffusion.engine.Model``."""

    name: str
    traits: Traits
    levels: Levels
    denoiser: Denoiser
    adapters: Adapters | None
    reader: Reader
    pictures: Pictures

    def read(self, prompts: Prompts, width: int, height: int, guidance: float) -> Reading:
        """Texts for pictures of a size."""
        return self.reader.read(prompts, width, height, guidance)

    def encode(self, picture: Pixels, seed: int) -> Array:
        """Latents of a picture."""
        return self.pictures.encode(picture, seed)

    def decode(self, painted: Array) -> Pixels:
        """The picture of latents."""
        return self.pictures.decode(painted)
