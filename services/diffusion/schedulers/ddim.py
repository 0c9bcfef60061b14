"""DDPM (Ho et al., 2020) and DDIM (Song et al., 2021): steps between trained levels."""

from __future__ import annotations

import math

import numpy as np

from services.diffusion.schedulers.levels import Array, Floats, Levels, shares
from services.diffusion.schedulers.walk import Call, Noise, Path, Walk, clean_of, noise_of, question, spaced


def ddpm_path(levels: Levels, steps: int) -> Path:
    """Evenly spaced levels, then the clean picture."""
    return _path(levels, spaced(levels, steps, "leading"), 0.0)


def ddim_path(levels: Levels, steps: int) -> Path:
    """The same; Stable Diffusion's walk ends at level 0, which still has a trace of noise."""
    ends_clean = levels.config.get("set_alpha_to_one", True)
    return _path(levels, spaced(levels, steps, "leading"), 0.0 if ends_clean else float(levels.sigmas[0]))


def _path(levels: Levels, timesteps: Floats, end: float) -> Path:
    whole = timesteps.round()
    return Path(whole, np.append(levels.sigmas[whole.astype(int)], end), 1.0)


def ddpm(levels: Levels, path: Path, x: Array, noise: Noise) -> Walk:
    """Draw from the posterior of the level before (Ho et al., equations 6 and 7), with its small variance."""
    for step in range(path.steps):
        call = question(x, path, step)
        clean = clean_of(levels, call, (yield call))
        mean, deviation = _posterior(call, clean, float(path.sigmas[step + 1]))
        x = mean if step + 1 == path.steps else (mean + deviation * noise(step)).astype(np.float32)
    return x


def _posterior(call: Call, clean: Array, sigma: float) -> tuple[Array, float]:
    """Mean and standard deviation of a picture at ``sigma``, given a noisier one and the clean one."""
    signal, noise_share = shares(sigma)
    kept = (call.signal / signal) ** 2  # alpha of the step; 1 - alpha is its beta
    of_clean = signal * (1 - kept) / call.noise_share**2
    of_sample = math.sqrt(kept) * (noise_share / call.noise_share) ** 2
    mean = (of_clean * clean + of_sample * call.sample).astype(np.float32)
    return mean, noise_share / call.noise_share * math.sqrt(1 - kept)


def ddim(levels: Levels, path: Path, x: Array, noise: Noise, eta: float = 0.0) -> Walk:
    """``eta`` is the share of fresh noise: none at 0, as much as DDPM's at 1 (Song et al., equation 16).

    With ``use_clipped_model_output`` in the levels' config, noise is what the sample holds beside the picture
    as it was cut; else what the network says, which with guidance leaves a grain behind.
    """
    for step in range(path.steps):
        call = question(x, path, step)
        output = yield call
        clean = clean_of(levels, call, output)
        signal, noise_share = shares(float(path.sigmas[step + 1]))
        fresh = eta * noise_share / call.noise_share * math.sqrt(1 - (call.signal / signal) ** 2)
        if levels.config.get("use_clipped_model_output"):
            kept = noise_of(call, clean)
        else:
            kept = levels.prediction.noise(call.sample, output, call.signal, call.noise_share)
        x = (signal * clean + math.sqrt(noise_share**2 - fresh**2) * kept).astype(np.float32)
        if fresh > 0:
            x += np.float32(fresh) * noise(step)
    return x
