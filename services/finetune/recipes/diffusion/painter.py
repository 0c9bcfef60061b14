"""A published diffusion model that paints without a graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.diffusion.families.unet import Config, Unet
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.diffusion.painting import Eager, Manner, paint
from services.finetune.recipes.diffusion.tower import Tower

_WEIGHTS, _LEVELS = "unet.safetensors", "scheduler_config.json"


class Painter:
    """Paints what captions say."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """A version of recipe pretrain_diffusion. Raises FileNotFoundError where ``folder`` holds none."""
        if not (folder / _WEIGHTS).is_file():
            raise FileNotFoundError(f"{folder} holds no {_WEIGHTS}: it is no version of a diffusion model")
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        self.name = f"{manifest['name']}:{manifest['version']}"
        self.config = _sizes(manifest["config"]["unet"])
        network = Unet(self.config)
        network.load_state_dict({name: each.float() for name, each in load_file(folder / _WEIGHTS).items()})
        self._eager = Eager(network.to(device).eval().requires_grad_(False), device)
        self._levels = Levels.of_config(json.loads((folder / _LEVELS).read_text()))
        self._tower = Tower(folder / "text", device)

    def paint(self, captions: Sequence[str], manner: Manner) -> Tensor:
        """[captions, channels, size, size] from -1 to 1: of each caption one picture, its place the seed."""
        shape = (self.config.channels, self.config.size, self.config.size)
        return paint(self._eager, self._tower, captions, shape, self._levels, manner)


def _sizes(read: dict[str, Any]) -> Config:
    """JSON has lists where the sizes have tuples."""
    sizes: dict[str, Any] = {
        name: tuple(each) if isinstance(each, list) else each for name, each in read.items()
    }
    return Config(**sizes)
