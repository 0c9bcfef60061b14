"""A model of pixels as the service sees it."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np

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


def to_array(picture: Pixels) -> Array:
    """[height, width, 3] of bytes -> [3, height, width] from -1 to 1."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(painted: Array) -> Pixels:
    """The way back."""
    scaled = (np.clip(painted, -1, 1) + 1) * 127.5
    return np.ascontiguousarray(scaled.round().astype(np.uint8).transpose(1, 2, 0))
