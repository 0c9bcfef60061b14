"""The noise levels that a model was trained on, in the terms of diffusers' ``scheduler_config.json``.

A picture ``x`` at a level is ``signal * clean + noise_share * noise``, with signal^2 + noise_share^2 = 1
("variance preserving"), or signal + noise_share = 1 for flow models. ``sigma`` is noise_share / signal.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_COSINE_OFFSET = 0.008
_LARGEST_BETA = 0.999
_SMALLEST_SIGNAL = 2.0**-24
"""Signal^2 of a level that should have none: else its sigma would be infinite."""


class Prediction(enum.Enum):
    """What the network says of a noisy picture; the values are diffusers' ``prediction_type``."""

    NOISE = "epsilon"
    VELOCITY = "v_prediction"
    CLEAN = "sample"
    FLOW = "flow_prediction"

    def clean(self, x: Array, output: Array, signal: float, noise_share: float) -> Array:
        """The clean picture that ``output`` for ``x`` stands for."""
        if self is Prediction.NOISE:
            return as_array((x - noise_share * output) / signal)
        if self is Prediction.VELOCITY:
            return as_array(signal * x - noise_share * output)
        return as_array(x - noise_share * output) if self is Prediction.FLOW else output

    def saying(self, x: Array, clean: Array, signal: float, noise_share: float) -> Array:
        """What the network would say of ``x`` if it saw the picture ``clean``."""
        if self is Prediction.CLEAN:
            return clean
        noise = (x - signal * clean) / noise_share
        if self is Prediction.VELOCITY:
            return as_array(signal * noise - noise_share * clean)
        return as_array(noise - clean) if self is Prediction.FLOW else as_array(noise)

    def noise(self, x: Array, output: Array, signal: float, noise_share: float) -> Array:
        """The noise that ``output`` for ``x`` stands for."""
        if self is Prediction.NOISE:
            return output
        if self is Prediction.VELOCITY:
            return as_array(signal * output + noise_share * x)
        if self is Prediction.FLOW:
            return as_array(x + signal * output)
        return as_array((x - signal * output) / noise_share)


@dataclass(frozen=True, eq=False)
class Levels:
    """What a model was trained on. Level t of ``signal_squares`` has the share sqrt(signal_squares[t])."""

    signal_squares: Floats
    """The cumulative product of 1 - beta, [levels]; falling."""
    prediction: Prediction
    config: Mapping[str, Any]
    """The other fields of ``scheduler_config.json``; schedulers read what they know of them."""

    @staticmethod
    def of_config(config: Mapping[str, Any]) -> Levels:
        """The levels of a ``scheduler_config.json``. Raises ValueError for a schedule it does not know."""
        count = int(config.get("num_train_timesteps", 1000))
        prediction = Prediction(config.get("prediction_type", "epsilon"))
        betas = _betas(config, count)
        if config.get("rescale_betas_zero_snr"):
            betas = _without_last_signal(betas)
        # In 32 bits, as models were trained: at the noisiest levels the rounding is felt.
        squares: Floats = np.cumprod(1.0 - betas.astype(np.float32), dtype=np.float32).astype(np.float64)
        if config.get("rescale_betas_zero_snr"):
            squares[-1] = _SMALLEST_SIGNAL
        return Levels(squares, prediction, config)

    def sized(self, tokens: int) -> Levels:
        """The levels for pictures of so many tokens: some flow models shift theirs by it."""
        return dataclasses.replace(self, config={**self.config, "image_tokens": tokens})

    @property
    def count(self) -> int:
        """How many levels there are."""
        return int(self.signal_squares.size)

    @property
    def sigmas(self) -> Floats:
        """Noise over signal of each level, rising."""
        ratios: Floats = np.sqrt((1.0 - self.signal_squares) / self.signal_squares)
        return ratios

    @property
    def clips(self) -> bool:
        """Whether predictions of clean pictures are cut to -1..1, as fits models of pixels."""
        return bool(self.config.get("clip_sample", False))

    def sigma_at(self, timestep: float) -> float:
        """Sigma at a timestep that may lie between two levels."""
        return float(np.interp(timestep, np.arange(self.count), self.sigmas))

    def timestep_at(self, sigma: float) -> float:
        """The timestep of a sigma, interpolated in its logarithm."""
        return float(np.interp(math.log(max(sigma, 1e-10)), np.log(self.sigmas), np.arange(self.count)))


def as_array(values: npt.NDArray[Any]) -> Array:
    """In 32 bits."""
    return values.astype(np.float32, copy=False)


def shares(sigma: float) -> tuple[float, float]:
    """(signal, noise share) of a variance-preserving level with noise over signal ``sigma``."""
    signal = 1.0 / math.sqrt(sigma**2 + 1.0)
    return signal, sigma * signal


def _betas(config: Mapping[str, Any], count: int) -> Floats:
    """Noise that each level adds, as diffusers names schedules."""
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], np.float64)
    if schedule == "linear":
        return np.linspace(start, end, count)
    if schedule == "scaled_linear":  # Rombach et al., 2022
        return np.asarray(np.linspace(start**0.5, end**0.5, count) ** 2)
    if schedule == "squaredcos_cap_v2":  # Nichol and Dhariwal, 2021
        kept = (
            np.cos((np.arange(count + 1) / count + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
        )
        return np.asarray(np.minimum(1.0 - kept[1:] / kept[:-1], _LARGEST_BETA))
    raise ValueError(f"beta_schedule {schedule!r} is none of linear, scaled_linear, squaredcos_cap_v2")


def _without_last_signal(betas: Floats) -> Floats:
    """Betas shifted and scaled so that the last level has no signal (Lin et al., 2023, algorithm 1)."""
    signals = np.sqrt(np.cumprod(1.0 - betas))
    signals = (signals - signals[-1]) * signals[0] / (signals[0] - signals[-1])
    squares = signals**2
    alphas = np.concatenate([squares[:1], squares[1:] / squares[:-1]])
    return np.asarray(1.0 - alphas)
