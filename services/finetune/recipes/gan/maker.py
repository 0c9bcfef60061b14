"""A published generator at work in torch, to measure what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from services.common.store import MANIFEST_NAME
from services.gan.families.stylegan import Config, Generator

WEIGHTS = "generator.safetensors"
_ROWS = 250
_TUPLES = ("widths", "critic_widths")


class Maker:
    """Makes pictures of what is stated, without truncation."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """A version of recipe train_gan. Raises FileNotFoundError for another folder."""
        if not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{folder} holds no {WEIGHTS}: it is no GAN")
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        self.name = f"{manifest['name']}:{manifest['version']}"
        sizes = manifest["config"]["stylegan"]
        self.config = Config(**{**sizes, **{name: tuple(sizes[name]) for name in _TUPLES}})
        generator = Generator(self.config)
        generator.load_state_dict({name: each.float() for name, each in load_file(folder / WEIGHTS).items()})
        self._generator = generator.to(device).eval().requires_grad_(False)
        self._device = device

    def make(self, stated: Tensor, seed: int = 0) -> Tensor:
        """[n, attributes] of 0 and 1, all 0 for nothing stated -> [n, 3, size, size], the same for a seed."""
        chance = torch.Generator().manual_seed(seed)
        parts = [self._part(part, chance) for part in torch.split(stated, _ROWS)]
        return torch.cat(parts)

    def _part(self, stated: Tensor, chance: torch.Generator) -> Tensor:
        z, noise = (
            torch.randn(len(stated), width, generator=chance).to(self._device)
            for width in (self.config.latent, sum(self.config.places))
        )
        made: Tensor = self._generator(z, stated.to(self._device), noise).cpu()
        return made
