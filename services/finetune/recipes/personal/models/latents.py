"""A directory of diffusers' format in personal fine-tuning: factors of its attention, or its whole network.

Stable Diffusion 1.x and 2.x, SDXL and Flux. Latents and what is read of texts are made once; text encoders
and VAE stay as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.common.store import Kind
from services.common.store.pipeline import needed
from services.diffusion.engine import Prompts, Reading
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox
from services.diffusion.painting.painting import Painting, advance
from services.diffusion.pipelines.directory import read_directory
from services.diffusion.pipelines.opening import open_parts
from services.diffusion.pipelines.parts.denoiser import TorchDenoiser
from services.diffusion.pipelines.parts.placing import place_for, place_network
from services.diffusion.pipelines.placement import Placement
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes.base import Base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.peeps.pictures import pictures, pixels
from services.finetune.recipes.personal.models.lora_files import with_factors, write_factors
from services.finetune.recipes.personal.models.noisy import noisy_of
from services.finetune.recipes.personal.models.tunable import Told
from services.finetune.recipes.resumable import Stateful
from services.finetune.recipes.trained import Trained

_RATES = {True: 1e-4, False: 2e-6}
"""Of factors, and of the whole network; those of diffusers' own scripts."""


class Latents:
    """Implements ``Tunable``."""

    def __init__(self, base: Base, options: Options) -> None:
        """Raises ValueError, OSError or ServiceError for a directory that is no such pipeline."""
        self._device = Device(options.device, options.threads)
        self._folder, self._rank = base.folder, options.lora_rank
        self._directory = read_directory(base.folder)
        # What is trained in full needs 32 bits, for small steps would be lost in 16.
        precision = "bf16" if self._device.is_gpu and self._rank else "fp32"
        placement = Placement(self._device.torch.type, precision)
        self._place = place_for(placement, self._directory.architecture)
        self._parts = open_parts(self._directory, self._place)
        self.size = self._sized(options.size)
        self._noisy = noisy_of(self._parts.levels, self._device.torch)
        self.count = self._parts.levels.count
        self.kind, self.family = (Kind.ADAPTER, "lora") if self._rank else (Kind.DIFFUSION, base.family)
        self.described: dict[str, Any] = {"peft_type": "LORA"} if self._rank else {}
        self.rate = _RATES[bool(self._rank)]
        self.network = network = self._parts.network
        torch.manual_seed(options.seed)
        if self._rank:
            with_factors(network, self._rank)
        else:
            network.requires_grad_(True)
        if options.recompute:
            network.enable_gradient_checkpointing()
        place_network(network, self._place)
        self._trained = Trained(network)
        for weight in self._trained.weights.values():
            weight.data = weight.data.float()
        self._average = self._trained.average(options.average) if options.average else None

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """See ``Tunable``."""
        held: dict[str, Stateful] = {"trained": self._trained}
        return held | ({"average": self._average} if self._average else {})

    @property
    def learned(self) -> list[torch.nn.Parameter]:
        """See ``Tunable``."""
        return list(self._trained.weights.values())

    def seen(self, pictures: Tensor) -> Tensor:
        """Latents; what the VAE draws for a picture is decided by its place."""
        encoded = [self._parts.pictures.encode(each, seed) for seed, each in enumerate(pixels(pictures))]
        return torch.from_numpy(np.stack(encoded)).to(self._device.torch)

    def told(self, texts: Sequence[str]) -> Told:
        """What the text encoders say, and the picture's size where the network wants it."""
        inputs = [self._read(text).told.inputs for text in texts]
        return {
            name: torch.from_numpy(np.stack([each[name] for each in inputs])).to(self._device.torch)
            for name in inputs[0]
        }

    def draw(self, count: int, chance: np.random.Generator) -> Tensor:
        """See ``Tunable``."""
        return self._noisy.draw(count, chance)

    def outcome(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """Noise, velocities or flow, as the network was trained."""
        noisy, goal = self._noisy.mix(clean, noise, level)
        dtype = self._place.dtype
        inputs = {name: each.to(dtype) for name, each in told.items()}
        with self._device.products():
            said = self._parts.asks(noisy.to(dtype), level.float(), inputs)
        return said.float(), goal

    @torch.no_grad()
    def kept(self, clean: Tensor, noise: Tensor, level: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """The same by what is kept."""
        with self._trained.replaced(self._average):
            return self.outcome(clean, noise, level, told)

    def follow(self, step: int) -> None:
        """See ``Tunable``."""
        if self._average:
            self._average.follow(self._trained.listed(), step)

    def painted(self, prompts: Sequence[str], seeds: Sequence[int], steps: int) -> Tensor:
        """By the engine that serves, with the pipeline's own scheduler and guidance."""
        denoiser = TorchDenoiser(self._parts.asks, self._place)
        paintings = [self._begun(prompt, seed, steps) for prompt, seed in zip(prompts, seeds, strict=True)]
        with self._trained.replaced(self._average), self._device.products():
            while left := [each for each in paintings if not each.is_finished]:
                advance(left, denoiser)
        done = [each.result for each in paintings if each.result is not None]
        return pictures(np.stack([self._parts.pictures.decode(each) for each in done]))

    def write(self, folder: Path) -> None:
        """An adapter as diffusers writes it; of the whole network, a directory of its format."""
        network = self.network
        with self._trained.replaced(self._average):
            if self._rank:
                write_factors(self._directory, network, self._rank, folder)
                return
            network.save_pretrained(folder / self._directory.network)
        names = [str(each.relative_to(self._folder)) for each in self._folder.rglob("*") if each.is_file()]
        for name in needed(names):
            if not name.startswith(f"{self._directory.network}/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._folder / name, folder / name)

    def _sized(self, size: int) -> int:
        traits = self._parts.traits
        size = size or min(traits.width, traits.height)
        if size % traits.multiple:
            raise ValueError(f"size is {size}, a multiple of {traits.multiple} is needed")
        return size

    def _read(self, text: str) -> Reading:
        guidance = self._parts.traits.guidance
        return self._parts.reader.read(Prompts(text), self.size, self.size, guidance, ())

    def _begun(self, prompt: str, seed: int, steps: int) -> Painting:
        """A picture on its way, as a request without wishes would be."""
        traits, scheduler = self._parts.traits, SCHEDULERS[self._parts.traits.scheduler]
        levels = self._parts.levels.sized(traits.tokens(self.size, self.size))
        path = scheduler.path(levels, steps)
        side = self.size // traits.factor
        noise = philox(seed, (traits.channels, side, side))
        walk = scheduler.walk(levels, path, noise(START) * path.start, noise)
        reading = self._read(prompt)
        guidance = Guidance(traits.guidance if traits.negative else 1.0)
        return Painting(walk, levels, path.steps, reading.told, reading.untold, guidance)
