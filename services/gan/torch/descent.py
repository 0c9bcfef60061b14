"""A projection: the code whose image is nearest to a picture, by steps against the gradient."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.common.pictures.arrays import Array
from services.gan.engine import Aim
from services.gan.latent.drawing import noise_of

_COARSEST = 8
"""Pixels of a side at which pictures are compared at the coarsest."""


class TorchDescent:
    """Adam (Kingma and Ba, 2014) over a style for each layer. Implements ``services.gan.engine.Descent``.

    What is made small is the mean square of the difference at every resolution from 8 pixels on, which leads
    from far away too, and the pull towards the mean code.
    """

    def __init__(self, synthesis: nn.Module, mean: Tensor, aim: Aim, places: int) -> None:
        """``mean`` [width]; ``places``: width of a row of noise."""
        self._synthesis = synthesis
        self._mean = mean
        self._pull = aim.regularization
        self._target = torch.from_numpy(aim.picture)[None]
        self._code = torch.from_numpy(aim.begin.copy())[None].requires_grad_()
        self._noise = torch.from_numpy(noise_of(aim.noise_seed, places, aim.noise_strength))[None]
        self._takes_noise = "noise" in inspect.signature(synthesis.forward).parameters
        self._optimiser = torch.optim.Adam([self._code], lr=aim.rate)

    def step(self) -> float:
        """One step; returns the loss before it."""
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.item()

    def code(self) -> Array:
        """[layers, width]."""
        found: Array = self._code.detach()[0].numpy().copy()
        return found

    def _loss(self) -> Tensor:
        given: dict[str, Any] = {"noise": self._noise} if self._takes_noise else {}
        made: Tensor = self._synthesis(self._code, **given)
        target, loss = self._target, self._pull * (self._code - self._mean).square().mean()
        while True:
            loss = loss + functional.mse_loss(made, target)
            if made.shape[-1] <= _COARSEST:
                return loss
            made, target = functional.avg_pool2d(made, 2), functional.avg_pool2d(target, 2)
