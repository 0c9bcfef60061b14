"""A model of pixels as the service sees it."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

from services.common.pictures.arrays import to_array, to_pixels
from services.diffusion.adapters.stacks import Stacks
from services.diffusion.engine import Pixels, Prompts, Reading, Scaled, Traits
from services.diffusion.onnx.denoiser import OnnxDenoiser
from services.diffusion.onnx.reading import Reader
from services.diffusion.schedulers.levels import Array, Levels


@dataclass(eq=False)
class PixelModel:
    """Implements ``services.diffusion.engine.Model``."""

    name: str
    traits: Traits
    levels: Levels
    denoiser: OnnxDenoiser
    adapters: Stacks
    reader: Reader

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled] = ()
    ) -> Reading:
        """Texts; size, guidance and adapters change nothing here."""
        return self.reader.read(prompts)

    def encode(self, picture: Pixels, seed: int) -> Array:
        """Bytes as numbers from -1 to 1."""
        return to_array(picture)

    def decode(self, painted: Array) -> Pixels:
        """The way back."""
        return to_pixels(painted)

    def close(self) -> None:
        """Let go of the graphs."""
        self.denoiser.close()
        self.reader.close()
