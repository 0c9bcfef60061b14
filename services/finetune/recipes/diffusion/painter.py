"""A published diffusion model that paints without a graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.diffusion.adapters.factors import read
from services.diffusion.networks.graphs import WEIGHTS_FILE, network_of
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.diffusion.painting import Eager, Manner, paint
from services.finetune.recipes.diffusion.tower import Tower

_LEVELS = "scheduler_config.json"


class Painter:
    """Paints what captions say."""

    def __init__(self, folder: Path, device: torch.device, adapter: Path | None = None) -> None:
        """A version of recipe pretrain_diffusion, changed by ``adapter`` where one is given.

        Raises FileNotFoundError for another folder.
        """
        if not (folder / WEIGHTS_FILE).is_file():
            raise FileNotFoundError(f"{folder} holds no {WEIGHTS_FILE}: it is no diffusion model")
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        self.name = f"{manifest['name']}:{manifest['version']}"
        network = network_of(manifest["config"], folder)
        if adapter is not None:
            for layer, factors in read(str(adapter), str(adapter), adapter).factors.items():
                weight = network.get_parameter(f"{layer}.weight")
                weight.data += torch.from_numpy(factors.up @ factors.down)
        self.config = network.config
        self._eager = Eager(network.to(device).requires_grad_(False), device)
        self._levels = Levels.of_config(json.loads((folder / _LEVELS).read_text()))
        self._tower = Tower(folder / "text", device)

    def paint(self, captions: Sequence[str], manner: Manner, seeds: Sequence[int] | None = None) -> Tensor:
        """[captions, channels, size, size] from -1 to 1: one of each, its seed its place or told."""
        shape = (self.config.channels, self.config.size, self.config.size)
        return paint(self._eager, self._tower, captions, shape, self._levels, manner, seeds)
