"""What can be chosen about an embedder of texts and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.options import Run, within


@dataclass(frozen=True)
class Options(Run):
    """Sizes and training; the defaults are those of the shipped ``peeps-clip``."""

    vocabulary: int = within(512, 260, 65_000)
    length: int = within(48, 8, 512)
    """Tokens of a text."""
    width: int = within(160, 8, 4096)
    text_layers: int = within(3, 1, 48)
    image_layers: int = within(4, 1, 48)
    patch: int = within(8, 1, 64)
    size: int = within(64, 16, 128)
    """Pixels of a side."""
    dimensions: int = within(128, 1, 4096)
    images: str = ""
    """Folder of the version whose image tower is kept as it is; "" to learn both towers."""
    steps: int = 2000
    batch: int = within(512, 2, 65_536)
    rate: float = within(1e-3, 1e-7, 1.0)
    decay: float = within(0.05, 0.0, 10.0)
    warm_up: int = within(100, 1, 1_000_000)
