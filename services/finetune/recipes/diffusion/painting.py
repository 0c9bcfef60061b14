"""Pictures painted with a network in training, by the engine that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.diffusion.engine import Denoiser, Question, Text
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox
from services.diffusion.painting.painting import Painting, advance
from services.diffusion.profile import Profile
from services.diffusion.schedulers.levels import Array, Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes.diffusion.tower import Tower

_ROWS = 256


@dataclass(frozen=True)
class Manner:
    """How pictures are painted."""

    scheduler: str = "dpmpp_2m"
    steps: int = 20
    guidance: float = 3.0


class Eager:
    """A network without a graph, as the engine of images asks it."""

    rows = _ROWS
    profile = Profile(_ROWS, {_ROWS: 0.0})

    def __init__(self, network: Callable[..., Tensor], device: torch.device) -> None:
        self._network, self._device = network, device

    @torch.no_grad()
    def predict(self, questions: Sequence[Question]) -> list[Array]:
        """What it says of each row."""
        samples, states, masks = (
            torch.from_numpy(np.stack(arrays)).to(self._device)
            for arrays in zip(*((each.sample, *each.text.inputs.values()) for each in questions), strict=True)
        )
        timesteps = torch.tensor([each.timestep for each in questions], device=self._device)
        return list(self._network(samples, timesteps, states, masks).float().cpu().numpy())


def paint(
    eager: Denoiser,
    tower: Tower,
    captions: Sequence[str],
    shape: Sequence[int],
    levels: Levels,
    manner: Manner,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """[captions, channels, size, size]: of each caption one picture, its place the seed unless told."""
    ids, mask = tower.encode([*captions, ""])
    states, masks = tower.states(ids, mask).cpu().numpy(), mask.cpu().numpy()
    *told, untold = (Text({"text": each, "mask": shown}) for each, shown in zip(states, masks, strict=True))
    scheduler = SCHEDULERS[manner.scheduler]
    path = scheduler.path(levels, manner.steps)
    paintings = []
    for seed, text in zip(seeds or range(len(captions)), told, strict=True):
        noise = philox(seed, shape)
        walk = scheduler.walk(levels, path, path.start * noise(START), noise)
        paintings.append(Painting(walk, levels, path.steps, text, untold, Guidance(manner.guidance)))
    while not all(painting.is_finished for painting in paintings):
        advance(paintings, eager)
    made = [painting.result for painting in paintings if painting.result is not None]
    return torch.from_numpy(np.stack(made))
