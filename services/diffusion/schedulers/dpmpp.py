"""DPM-Solver++, second order, multistep (Lu et al., 2022, algorithm 2, midpoint)."""

from __future__ import annotations

import math

import numpy as np

from services.diffusion.schedulers.levels import Array, Floats, Levels, shares
from services.diffusion.schedulers.walk import Noise, Path, Walk, clean_of, karras, question


def dpmpp_path(levels: Levels, steps: int) -> Path:
    """Whole levels, spaced so that there is one more of them than steps; then the clean picture."""
    spacing, count = levels.config.get("timestep_spacing", "linspace"), levels.count
    if spacing == "linspace":
        timesteps = np.linspace(0, count - 1, steps + 1).round()[:0:-1]
    elif spacing == "leading":
        timesteps = np.arange(steps, 0, -1) * (count // (steps + 1)) + levels.config.get("steps_offset", 0)
    elif spacing == "trailing":
        timesteps = np.arange(count, 0, -count / steps).round() - 1
    else:
        raise ValueError(f"timestep_spacing {spacing!r} is none of linspace, leading, trailing")
    return _path(levels, timesteps.astype(np.float64), levels.sigmas[timesteps.astype(int)])


def dpmpp_karras_path(levels: Levels, steps: int) -> Path:
    """Karras's sigmas; the network is told the nearest level."""
    sigmas = karras(levels.sigmas, steps)
    return _path(levels, np.array([levels.timestep_at(sigma) for sigma in sigmas]).round(), sigmas)


def _path(levels: Levels, timesteps: Floats, sigmas: Floats) -> Path:
    ends_clean = levels.config.get("final_sigmas_type", "zero") == "zero"
    return Path(timesteps, np.append(sigmas, 0.0 if ends_clean else levels.sigmas[0]), 1.0)


def dpmpp_2m(levels: Levels, path: Path, x: Array, _: Noise) -> Walk:
    """Extrapolates from the clean pictures of two steps; the first and the last step are Euler's."""
    before: Array | None = None
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        here, there = float(path.sigmas[step]), float(path.sigmas[step + 1])
        target = clean
        if before is not None and not _is_plain(path, step):
            last, length = math.log(float(path.sigmas[step - 1]) / here), math.log(here / there)
            target = clean + (clean - before) * (length / last / 2)
        signal, noise_share = shares(there)
        x = (noise_share / call.noise_share * call.sample + signal * (1 - there / here) * target).astype(
            np.float32
        )
        before = clean
    return x


def _is_plain(path: Path, step: int) -> bool:
    """Whether it is the last step, and that may not look back: in a short walk, or to the clean picture."""
    return step + 1 == path.steps and (path.sigmas[-1] == 0 or path.steps < 15)
