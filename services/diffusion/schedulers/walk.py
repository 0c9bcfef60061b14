"""What schedulers have in common: the question to the network, the path of levels, spacing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from services.diffusion.schedulers.levels import Array, Floats, Levels, as_array, shares


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A question to the network: what is in ``sample`` [channels, height, width] at ``timestep``?"""

    sample: Array
    timestep: float
    signal: float
    noise_share: float
    step: int
    """Which step of the path it belongs to, from 0."""


Walk = Generator[Call, Array, Array]
"""Yields calls, is sent what the network says, returns the clean picture."""

Noise = Callable[[int], Array]
"""Fresh noise of a step, counted from 0; the same for the same step."""


@dataclass(frozen=True, eq=False)
class Path:
    """The levels that a walk goes through."""

    timesteps: Floats
    """What the network is told at each step [steps]."""
    sigmas: Floats
    """Noise over signal [steps + 1]; the last is where the walk ends. For flow models the noise share."""
    start: float
    """What pure noise is multiplied by where the walk begins from nothing else."""

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return int(self.timesteps.size)

    def late(self, begin: int) -> Path:
        """The path from step ``begin`` on."""
        return Path(self.timesteps[begin:], self.sigmas[begin:], self.start)


def question(x: Array, path: Path, step: int) -> Call:
    """Ask about a variance-preserving ``x`` at a step of the path."""
    return Call(x, float(path.timesteps[step]), *shares(float(path.sigmas[step])), step)


def clean_of(levels: Levels, call: Call, output: Array) -> Array:
    """The clean picture that the network sees in a call's sample, cut to -1..1 where the model wants it."""
    x0 = levels.prediction.clean(call.sample, output, call.signal, call.noise_share)
    return np.clip(x0, -1.0, 1.0) if levels.clips else x0


def noise_of(call: Call, clean: Array) -> Array:
    """The noise that is in a call's sample besides a clean picture."""
    return as_array((call.sample - call.signal * clean) / call.noise_share)


def spaced(levels: Levels, steps: int, default: str) -> Floats:
    """Timesteps, falling, as ``timestep_spacing`` names them (Lin et al., 2023, table 2)."""
    spacing = levels.config.get("timestep_spacing", default)
    count = levels.count
    if spacing == "linspace":
        return np.linspace(0, count - 1, steps)[::-1]
    if spacing == "leading":
        offset = float(levels.config.get("steps_offset", 0))
        return np.asarray(np.arange(steps)[::-1] * (count // steps) + offset)
    if spacing == "trailing":
        return np.asarray(np.arange(count, 0, -count / steps).round() - 1)
    raise ValueError(f"timestep_spacing {spacing!r} is none of linspace, leading, trailing")


def karras(sigmas: Floats, steps: int) -> Floats:
    """Sigmas as Karras et al. (2022, equation 5) space them between the largest and the smallest, falling."""
    rho = 7.0
    largest, smallest = float(sigmas.max()) ** (1 / rho), float(sigmas.min()) ** (1 / rho)
    spread: Floats = (largest + np.linspace(0, 1, steps) * (smallest - largest)) ** rho
    return spread
