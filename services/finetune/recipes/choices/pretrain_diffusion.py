"""What can be chosen about a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.options import Run, within


@dataclass(frozen=True)
class Options(Run):
    """Training; the defaults are those of the shipped ``peeps-diffusion``."""

    steps: int = 2100
    batch: int = within(1024, 1, 65_536)
    rate: float = within(1e-3, 1e-7, 1.0)
    decay: float = within(0.01, 0.0, 10.0)
    warm_up: int = within(300, 1, 1_000_000)
    untold: float = within(0.1, 0.0, 1.0)
    """Share of the pictures that come without their caption."""
    average: float = within(0.999, 0.0, 0.99999)
    look_every: int = within(500, 1, 1_000_000)
