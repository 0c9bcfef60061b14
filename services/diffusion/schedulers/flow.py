"""Euler's method for flow matching (Lipman et al., 2023; Esser et al., 2024): straight from noise."""

from __future__ import annotations

import math

import numpy as np

from services.diffusion.schedulers.levels import Array, Floats, Levels
from services.diffusion.schedulers.walk import Call, Noise, Path, Walk


def flow_path(levels: Levels, steps: int) -> Path:
    """Evenly spaced noise shares, shifted towards noise.

    By how much may depend on the picture's size (``Levels.sized``). ``spacing_by_steps`` in the config: the
    last share is 1 / steps, as in Flux's pipeline; else it is the least trained on.
    """
    count, read = levels.count, levels.config.get
    shift = float(read("shift", 1.0))
    least = float(_shifted(np.array([1.0 / count]), shift)[0])
    if read("use_dynamic_shifting") or read("spacing_by_steps"):
        least = 1.0 / steps
    if read("use_dynamic_shifting"):
        shift = math.exp(_mu(levels, int(read("image_tokens", 256))))
    noise_shares = _shifted(np.linspace(1.0, least, steps), shift)
    return Path(noise_shares * count, np.append(noise_shares, 0.0), 1.0)


def flow_euler(levels: Levels, path: Path, x: Array, _: Noise) -> Walk:
    """The network says which way noise lies; each step goes the other way."""
    for step in range(path.steps):
        here, there = float(path.sigmas[step]), float(path.sigmas[step + 1])
        output = yield Call(x, float(path.timesteps[step]), 1.0 - here, here, step)
        x = (x + (there - here) * output).astype(np.float32)
    return x


def _shifted(noise_shares: Floats, shift: float) -> Floats:
    """Esser et al., equation 23."""
    return np.asarray(shift * noise_shares / (1 + (shift - 1) * noise_shares))


def _mu(levels: Levels, tokens: int) -> float:
    """The logarithm of the shift for a picture of so many tokens: linear between two sizes."""
    read = levels.config.get
    few, many = float(read("base_image_seq_len", 256)), float(read("max_image_seq_len", 4096))
    low, high = float(read("base_shift", 0.5)), float(read("max_shift", 1.15))
    return low + (high - low) * (tokens - few) / (many - few)
