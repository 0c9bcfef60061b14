"""Projections of drawings, as a request without options makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.gan.companions import encoder
from services.gan.engine import Aim
from services.gan.latent.drawing import noise_of
from services.gan.loading.files import MEAN
from services.gan.requests import USUAL_STEP_SIZE, USUAL_STEPS
from services.gan.torch.descent import TorchDescent
from services.gan.torch.networks import generator_of

_USUAL_PULL = 0.01


class Projector:
    """A version's generator, and its encoder's guess to begin with."""

    def __init__(self, folder: Path, steps: int = USUAL_STEPS) -> None:
        """Raises ValueError for a version without an encoder."""
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        self._config = manifest["config"]
        generator = generator_of(manifest["family"], self._config, folder)
        self._synthesis: Any = generator.get_submodule("synthesis")
        self._mean = generator.get_buffer(MEAN)
        guess = encoder.read(folder, len(self._mean))
        if guess is None:
            raise ValueError(f"{folder} has no {encoder.FILE} for projections to begin with")
        self._guess, self._steps = guess, steps

    def project(self, picture: Tensor) -> Tensor:
        """[3, size, size] -> the nearest that is found, [3, size, size]."""
        drawn = picture.numpy()
        layers, places = int(self._config["layers"]), self._synthesis.config.noise
        pull = float(self._config.get("defaults", {}).get("regularization", _USUAL_PULL))
        begin = np.repeat(self._guess(drawn)[None], layers, axis=0)
        aim = Aim(drawn, begin, USUAL_STEP_SIZE, pull, noise_seed=0, noise_strength=1.0)
        descent = TorchDescent(self._synthesis, self._mean, aim, places)
        for _ in range(self._steps):
            descent.step()
        noise = torch.from_numpy(noise_of(0, places, 1.0))[None]
        with torch.no_grad():
            found: Tensor = self._synthesis(torch.from_numpy(descent.code())[None], noise)[0]
        return found.clamp(-1, 1)


def decibels(made: Tensor, real: Tensor) -> float:
    """Mean peak signal-to-noise ratio of pictures [n, 3, size, size] from -1 to 1."""
    errors = ((made - real) / 2).square().mean(dim=(1, 2, 3))
    return float((-10 * errors.clamp(min=1e-10).log10()).mean())
