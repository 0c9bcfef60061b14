"""Where noise comes from: counters, so that no step's needs those before it; or torch, as in diffusers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.diffusion.schedulers.levels import Array
from services.diffusion.schedulers.walk import Noise

START = 2**63
"""The step that the noise which a walk begins with counts as."""


def philox(seed: int, shape: Sequence[int]) -> Noise:
    """Noise that depends on (seed, step) alone (Salmon et al., 2011)."""

    def noise(step: int) -> Array:
        stream = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, 0]))
        return stream.standard_normal(tuple(shape), np.float32)

    return noise


def torch_noise(seed: int, shape: Sequence[int]) -> Noise:
    """The noise that diffusers' pipelines draw for one image on the CPU: one after the other, start first.

    Steps must be asked for in order; the same one again is another.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)

    def noise(step: int) -> Array:
        drawn: Array = torch.randn((1, *shape), generator=generator)[0].numpy()
        return drawn

    return noise
