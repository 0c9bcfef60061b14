"""Euler's and Heun's methods (Karras et al., 2022), in noise over signal instead of time."""

from __future__ import annotations

import math

import numpy as np

from services.diffusion.schedulers.levels import Array, Levels, shares
from services.diffusion.schedulers.walk import Call, Noise, Path, Walk, clean_of, noise_of, question, spaced


def euler_path(levels: Levels, steps: int) -> Path:
    """Evenly spaced timesteps, which may lie between two levels, then the clean picture."""
    timesteps = spaced(levels, steps, "linspace")
    sigmas = np.interp(timesteps, np.arange(levels.count), levels.sigmas)
    # Where the first step is the noisiest level of all there is nothing but noise to begin with.
    is_whole = levels.config.get("timestep_spacing", "linspace") in {"linspace", "trailing"}
    return Path(timesteps, np.append(sigmas, 0.0), shares(float(sigmas[0]))[1] if is_whole else 1.0)


def euler(levels: Levels, path: Path, x: Array, _: Noise) -> Walk:
    """A straight step along what the network sees."""
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        x = _at(clean, noise_of(call, clean), float(path.sigmas[step + 1]))
    return x


def euler_ancestral(levels: Levels, path: Path, x: Array, noise: Noise) -> Walk:
    """A step down past the next level, then fresh noise up to it."""
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        here, there = float(path.sigmas[step]), float(path.sigmas[step + 1])
        up = math.sqrt(there**2 * (here**2 - there**2) / here**2)
        down = math.sqrt(there**2 - up**2)
        signal, _ = shares(there)
        x = (signal * (clean + down * noise_of(call, clean) + up * noise(step))).astype(np.float32)
    return x


def heun(levels: Levels, path: Path, x: Array, _: Noise) -> Walk:
    """Euler's step, corrected by what the network sees where it leads: two calls a step, but the last."""
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        here, there = float(path.sigmas[step]), float(path.sigmas[step + 1])
        slope = noise_of(call, clean)
        x = _at(clean, slope, there)
        if there > 0:
            ahead = Call(x, float(path.timesteps[step + 1]), *shares(there), step)
            other = noise_of(ahead, clean_of(levels, ahead, (yield ahead)))
            begin = call.sample / call.signal
            x = (shares(there)[0] * (begin + (slope + other) / 2 * (there - here))).astype(np.float32)
    return x


def _at(clean: Array, noise: Array, sigma: float) -> Array:
    """The variance-preserving picture of a clean one and noise at ``sigma``."""
    signal, noise_share = shares(sigma)
    mixed: Array = (signal * clean + noise_share * noise).astype(np.float32)
    return mixed
