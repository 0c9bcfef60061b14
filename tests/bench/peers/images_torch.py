"""The same network in PyTorch: images_torch.py FOLDER THREADS eager|diffusers.

``eager``: a group is one call, its items are the rows' timesteps. ``diffusers``: a group is whole images one
after the other, its items their steps: a loop around a scheduler of diffusers, as its pipelines have it, with
guidance. Its own UNet2DConditionModel cannot hold this network, so the network is ours in both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor
from wire import serve

from services.common.threads import cap_threads
from services.diffusion.networks.graphs import network_of

TOKENS = 48
GUIDANCE = 3.0
WARM_STEPS = 2


class Eager:
    """The network with a text."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "model.json").read_text())["config"]
        self.network = network_of(config, folder)
        chance = torch.Generator().manual_seed(1)
        sizes = self.network.config
        self.sample = torch.randn((1, sizes.channels, sizes.size, sizes.size), generator=chance)
        self._text = torch.randn((1, TOKENS, sizes.text_width), generator=chance)
        self._mask = torch.ones((1, TOKENS), dtype=torch.bool)

    def ask(self, samples: Tensor, timesteps: Tensor) -> Tensor:
        """One call."""
        rows = len(samples)
        said: Tensor = self.network(
            samples, timesteps, self._text.expand(rows, -1, -1), self._mask.expand(rows, -1)
        )
        return said

    def call(self, timesteps: list[float]) -> Tensor:
        """What it says of so many rows."""
        return self.ask(self.sample.expand(len(timesteps), -1, -1, -1), torch.tensor(timesteps))


class Loop:
    """Images one after the other."""

    def __init__(self, folder: Path) -> None:
        self._eager = Eager(folder)
        library: Any = diffusers  # typed only in part
        self._scheduler = library.DPMSolverMultistepScheduler
        self._config = json.loads((folder / "scheduler_config.json").read_text())

    def images(self, steps: list[int]) -> list[Tensor]:
        """An image in each so many steps."""
        return [self._image(int(each)) for each in steps]

    def _image(self, steps: int) -> Tensor:
        scheduler = self._scheduler.from_config(self._config)  # each request has its own, for it keeps state
        scheduler.set_timesteps(steps)
        sample = self._eager.sample
        for timestep in scheduler.timesteps:
            told, untold = self._eager.ask(sample.expand(2, -1, -1, -1), timestep.expand(2)).chunk(2)
            sample = scheduler.step(untold + GUIDANCE * (told - untold), timestep, sample).prev_sample
        return sample


def main(folder: Path, threads: int, way: str) -> None:
    """Load the network and serve."""
    cap_threads(threads)
    versions = f"torch {torch.__version__}"
    with torch.inference_mode():
        if way == "diffusers":
            serve(Loop(folder).images, f"diffusers {diffusers.__version__}, {versions}", [WARM_STEPS])
        else:
            serve(Eager(folder).call, versions, [500.0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
