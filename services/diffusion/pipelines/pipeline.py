"""A pipeline as the service sees a model."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Protocol

from services.diffusion.adapters.fitting import Sizes
from services.diffusion.engine import Adapters, Denoiser, Pixels, Prompts, Reading, Scaled, Traits
from services.diffusion.pipelines.parts.pictures import Pictures
from services.diffusion.schedulers.levels import Array, Levels


class Reader(Protocol):
    """Texts as the network of one architecture reads them."""

    @property
    def sizes(self) -> Mapping[int, Sizes]:
        """The text encoders' layers that adapters can change, by the encoder's number."""
        ...

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled]
    ) -> Reading:
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

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled] = ()
    ) -> Reading:
        """Texts for pictures of a size."""
        return self.reader.read(prompts, width, height, guidance, adapters)

    def encode(self, picture: Pixels, seed: int) -> Array:
        """Latents of a picture."""
        return self.pictures.encode(picture, seed)

    def decode(self, painted: Array) -> Pixels:
        """The picture of latents."""
        return self.pictures.decode(painted)
