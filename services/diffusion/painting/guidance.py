"""How strongly a text steers: classifier-free guidance (Ho and Salimans, 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.diffusion.schedulers.levels import Array, as_array


@dataclass(frozen=True)
class Guidance:
    """Steering of one image; ``start`` and ``end`` are shares of its steps."""

    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    rescale: float = 0.0

    def steers(self, step: int, steps: int) -> bool:
        """Whether a step needs what the network says without the text."""
        return self.scale != 1.0 and self.start <= step / steps < self.end

    def combine(self, told: Array, untold: Array) -> Array:
        """What to go by, of what the network says with the text and without."""
        steered = as_array(untold + np.float32(self.scale) * (told - untold))
        if not self.rescale:
            return steered
        # Back to the contrast without guidance (Lin et al., 2023, equations 15 and 16).
        matched = steered * (told.std() / max(float(steered.std()), 1e-8))
        return as_array(self.rescale * matched + (1 - self.rescale) * steered)
