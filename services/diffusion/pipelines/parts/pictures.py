"""Pictures and their latents (Rombach et al., 2022): diffusers' AutoencoderKL."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.diffusion.engine import Pixels
from services.diffusion.pipelines.parts.placing import Place, Resting
from services.diffusion.schedulers.levels import Array


class Pictures:
    """Between pixels and what the network sees."""

    def __init__(self, vae: Any, place: Place) -> None:
        self._vae = vae.eval()
        # SDXL's gives NaN in 16 bits; its settings say so.
        upcast = place.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
        self._resting = Resting(vae, place, torch.float32 if upcast else None)
        mean, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
        self._shift = _by_channel(mean if mean is not None else [vae.config.get("shift_factor") or 0.0])
        self._scale = float(vae.config.scaling_factor) / _by_channel(deviation or [1.0])

    @property
    def factor(self) -> int:
        """Pixels a side of a place."""
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @torch.inference_mode()
    def encode(self, picture: Pixels, seed: int) -> Array:
        """[height, width, 3] -> [channels, height / factor, width / factor].

        The encoder says a mean and a deviation for each number. Its noise is what a generator of ``seed``
        draws first, as in diffusers' image-to-image pipelines, where what a walk begins with comes after.
        """
        values = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)[None]
        with self._resting.at_work():
            sent = values.to(self._resting.device, self._resting.dtype)
            spread = self._vae.encode(sent).latent_dist
            drawn = spread.sample(torch.Generator("cpu").manual_seed(seed))
        return _array((drawn.float().cpu() - self._shift) * self._scale)

    @torch.inference_mode()
    def decode(self, painted: Array) -> Pixels:
        """[channels, height, width] -> [factor * height, factor * width, 3]."""
        values = torch.from_numpy(painted)[None] / self._scale + self._shift
        with self._resting.at_work():
            made = self._vae.decode(values.to(self._resting.device, self._resting.dtype)).sample
        shown = _array((made.float() / 2 + 0.5).clamp(0, 1)).transpose(1, 2, 0)
        pixels: Pixels = (shown * 255).round().astype(np.uint8)
        return pixels


def _by_channel(values: list[float]) -> Tensor:
    """[1, channels or 1, 1, 1]."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None]


def _array(values: Tensor) -> Array:
    """The only row of [1, ...]."""
    row: Array = values[0].cpu().numpy()
    return row
