"""A model of family "unet" in personal fine-tuning: low-rank factors of its attention, or all of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from services.common.store import Kind
from services.diffusion.networks.adapted import Adapted, Factors, linear_names
from services.diffusion.networks.graphs import WEIGHTS_FILE, network_of
from services.diffusion.networks.unet import Unet
from services.diffusion.schedulers.levels import Levels
from services.finetune.recipes.average import Average, halves
from services.finetune.recipes.base import Base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.diffusion.noising import Noising
from services.finetune.recipes.diffusion.painting import Eager, Manner, paint
from services.finetune.recipes.diffusion.tower import Tower
from services.finetune.recipes.personal.models.adapter_files import write_adapter
from services.finetune.recipes.personal.models.tunable import Told
from services.finetune.recipes.resumable import Stateful

_LEVELS = "scheduler_config.json"
_RATES = {True: 1e-3, False: 5e-5}
"""Of factors, and of the whole network."""
_ATTENTION = frozenset({"places", "words"})


class Pixels:
    """Implements ``Tunable``."""

    kind, family = Kind.ADAPTER, "lora"

    def __init__(self, base: Base, options: Options) -> None:
        """Raises ValueError or OSError for a folder that is no such model, or of another size."""
        self._device = Device(options.device, options.threads)
        here = self._device.torch
        self._folder, self._reference = base.folder, base.reference
        network = self._device.place(network_of(base.config, base.folder))
        self._config = network.config
        self.size = network.config.size
        if options.size not in {0, self.size}:
            raise ValueError(f"size is {options.size}, the model's pictures have {self.size} pixels a side")
        self._usual: Mapping[str, Any] = base.config.get("defaults") or {}
        self.described: dict[str, Any] = {"defaults": dict(self._usual), "peft_type": "LORA"}
        self._tower = Tower(base.folder / "text", here)
        self._levels = Levels.of_config(json.loads((base.folder / _LEVELS).read_text()))
        self._noising = Noising(self._levels, here)
        self.count = self._levels.count
        self._network: Unet = network
        self._adapted: Adapted | None = None
        torch.manual_seed(options.seed)
        if options.lora_rank:
            network.requires_grad_(False)
            self._adapted = Adapted(network, attention_names(network))
            self._trained: Factors | Unet = Factors(self._adapted, options.lora_rank).to(here)
        else:
            self._trained = network.requires_grad_(True)
            self.kind, self.family = Kind.DIFFUSION, "unet"
            self.described = {"defaults": dict(self._usual), "unet": base.config["unet"]}
        self.rate = _RATES[bool(options.lora_rank)]
        self._average = Average[Factors | Unet](self._trained, options.average) if options.average else None

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """See ``Tunable``."""
        held: dict[str, Stateful] = {"trained": self._trained}
        return held | ({"average": self._average} if self._average else {})

    @property
    def learned(self) -> list[torch.nn.Parameter]:
        """See ``Tunable``."""
        return list(self._trained.parameters())

    def seen(self, pictures: Tensor) -> Tensor:
        """The pictures themselves."""
        return pictures.to(self._device.torch)

    def told(self, texts: Sequence[str]) -> Told:
        """The tower's states."""
        ids, mask = self._tower.encode(texts)
        with torch.no_grad():
            return {"states": self._tower.states(ids, mask), "mask": mask}

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """See ``Tunable``."""
        return self._noising.draw(count, chance)

    def outcome(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """Velocities."""
        return self._outcome(self._trained, clean, noise, level, told)

    @torch.no_grad()
    def kept(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """Velocities."""
        return self._outcome(self._kept, clean, noise, level, told)

    def follow(self, step: int) -> None:
        """See ``Tunable``."""
        if self._average:
            self._average.follow(self._trained, step)

    def painted(self, prompts: Sequence[str], seeds: Sequence[int], steps: int) -> Tensor:
        """By the engine that serves, with the model's own scheduler and guidance."""

        def network(*inputs: Tensor) -> Tensor:
            return self._said(self._kept, *inputs)

        shape = (self._config.channels, self.size, self.size)
        usual = Manner()
        guidance = float(self._usual.get("guidance_scale", usual.guidance))
        manner = Manner(self._usual.get("scheduler", usual.scheduler), steps, guidance)
        eager = Eager(network, self._device.torch)
        return paint(eager, self._tower, prompts, shape, self._levels, manner, seeds)

    def write(self, folder: Path) -> None:
        """An adapter as PEFT writes it; of the whole network, a diffusion model."""
        if self._adapted is None:
            save_file(halves(self._kept), folder / WEIGHTS_FILE)
            shutil.copyfile(self._folder / _LEVELS, folder / _LEVELS)
            shutil.copytree(self._folder / "text", folder / "text")
            return
        factors = self._kept
        assert isinstance(factors, Factors)  # what is adapted has no other
        pairs = {
            name: (down, up)
            for name, down, up in zip(self._adapted.names, factors.downs, factors.ups, strict=True)
        }
        write_adapter(folder, pairs, self._reference)

    @property
    def _kept(self) -> Factors | Unet:
        return self._average.model if self._average else self._trained

    def _outcome(
        self, model: Factors | Unet, clean: Tensor, noise: Tensor, level: Tensor, told: Told
    ) -> tuple[Tensor, Tensor]:
        noisy, velocity = self._noising.mix(clean, noise, level)
        return self._said(model, noisy, level, told["states"], told["mask"]), velocity

    def _said(self, model: Factors | Unet, *inputs: Tensor) -> Tensor:
        with self._device.products():
            if isinstance(model, Factors):
                assert self._adapted is not None  # see __init__
                return model.said(self._adapted, inputs).float()
            said: Tensor = model(*inputs)
        return said.float()


def attention_names(network: Unet) -> list[str]:
    """The linear layers of its attention, to places and to words."""
    return [name for name in linear_names(network) if _ATTENTION & set(name.split("."))]
