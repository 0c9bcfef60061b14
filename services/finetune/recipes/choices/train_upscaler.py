"""What can be chosen about an upscaler."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.options import Run, within


@dataclass(frozen=True)
class Options(Run):
    """Training; the defaults are those of the shipped ``peeps-upscaler``."""

    steps: int = 6000
    batch: int = within(64, 1, 65_536)
    rate: float = within(1e-3, 1e-7, 1.0)
    warm_up: int = within(100, 1, 1_000_000)
    noisy: float = within(0.5, 0.0, 1.0)
    """Share of the inputs that get noise."""
    most_noise: float = within(0.08, 0.0, 1.0)
    """Standard deviation of the most noise, where black is -1 and white 1."""
    average: float = within(0.999, 0.0, 0.99999)
