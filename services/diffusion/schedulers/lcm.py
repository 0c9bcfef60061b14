"""Latent consistency (Luo et al., 2023): a clean picture at each step, then noise again."""

from __future__ import annotations

import numpy as np

from services.diffusion.schedulers.levels import Array, Levels, shares
from services.diffusion.schedulers.walk import Noise, Path, Walk, clean_of, question

_DATA_DEVIATION = 0.5


def lcm_path(levels: Levels, steps: int) -> Path:
    """Levels out of those the model was distilled at, evenly. Raises ValueError for more steps than those."""
    trained = int(levels.config.get("original_inference_steps", 50))
    stride = levels.count // trained
    levels_known = (np.arange(1, trained + 1) * stride - 1)[::-1]
    if steps > levels_known.size:
        raise ValueError(f"steps is {steps}, at most {levels_known.size} for this model")
    chosen = np.floor(np.linspace(0, levels_known.size, steps, endpoint=False)).astype(int)
    timesteps = levels_known[chosen]
    return Path(timesteps.astype(np.float64), np.append(levels.sigmas[timesteps], 0.0), 1.0)


def lcm(levels: Levels, path: Path, x: Array, noise: Noise) -> Walk:
    """The consistency function of the sample, and noise up to the next level but after the last step."""
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        scaled = call.timestep * float(levels.config.get("timestep_scaling", 10.0))
        kept = _DATA_DEVIATION**2 / (scaled**2 + _DATA_DEVIATION**2)
        x = (scaled / np.hypot(scaled, _DATA_DEVIATION) * clean + kept * call.sample).astype(np.float32)
        if step + 1 < path.steps:
            signal, noise_share = shares(float(path.sigmas[step + 1]))
            x = (signal * x + noise_share * noise(step)).astype(np.float32)
    return x
