"""Random numbers by counters: what a seed gives depends on nothing else."""

from __future__ import annotations

import numpy as np

from services.common.pictures.arrays import Array

_LATENT, _NOISE = 0, 1


def latent_of(seed: int, width: int) -> Array:
    """[width] from N(0, 1): a seed's latent vector."""
    return _normal(seed, _LATENT, width)


def noise_of(seed: int, places: int, strength: float) -> Array:
    """[places] from N(0, strength²): a seed's fine noise."""
    return _normal(seed, _NOISE, places) * np.float32(strength)


def _normal(seed: int, use: int, count: int) -> Array:
    """Philox (Salmon et al., 2011), keyed by the seed; each use has a stream of its own."""
    stream = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, use, 0]))
    return stream.standard_normal(count, np.float32)
