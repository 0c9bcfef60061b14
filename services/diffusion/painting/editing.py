"""Walks that begin from a picture: image to image, and painting anew under a mask only."""

from __future__ import annotations

import numpy as np

from services.diffusion.schedulers.levels import Array, Levels, as_array
from services.diffusion.schedulers.walk import Path, Walk, clean_of


def begin_from(picture: Array, path: Path, noise: Array, is_flow: bool = False) -> Array:
    """A clean picture at the level where a path begins."""
    sigma = float(path.sigmas[0])
    if is_flow:
        return as_array((1 - sigma) * picture + sigma * noise)
    return as_array((picture + sigma * noise) / np.sqrt(1 + sigma**2))


def late_steps(path: Path, strength: float) -> Path:
    """The last ``strength`` of a path, at least one step of it."""
    kept = max(min(int(path.steps * strength), path.steps), 1)
    return path.late(path.steps - kept)


def keeping(walk: Walk, levels: Levels, picture: Array, mask: Array) -> Walk:
    """A walk that ends at ``picture`` wherever ``mask`` [1, height, width] is 0.

    There the network is made to see the picture, at every step and with any scheduler; so what it paints
    elsewhere has the right neighbours all the way.
    """
    call = next(walk)
    while True:
        output = yield call
        clean = clean_of(levels, call, output)
        wanted = as_array(mask * clean + (1 - mask) * picture)
        said = levels.prediction.saying(call.sample, wanted, call.signal, call.noise_share)
        try:
            call = walk.send(as_array(np.where(mask > 0, mask * output + (1 - mask) * said, said)))
        except StopIteration as done:
            return as_array(np.where(mask > 0, done.value, picture))
