"""Features of pictures by the image tower of a peeps-clip version.

Taken is what the tower says before its projection: the projection keeps what captions tell, the tower also
how it is drawn. Figures made with them bear the version, as in ``kid@peeps-clip-v2``: they compare with no
others, least of all with those of Inception.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor
from torch.nn import functional

from services.common.store import MANIFEST_NAME

_PREPROCESSOR = "preprocessor_config.json"
_ROWS = 250


class Features:
    """Turns pictures into points."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """A version of recipe pretrain_clip. Raises FileNotFoundError where ``folder`` holds none."""
        if not (folder / _PREPROCESSOR).is_file():
            raise FileNotFoundError(f"{folder} holds no {_PREPROCESSOR}: it is no version of an image tower")
        library: Any = transformers  # typed only in part
        library.logging.set_verbosity_error()  # it would warn of the text tower, which is not wanted
        model = library.CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        reading = json.loads((folder / _PREPROCESSOR).read_text())
        self._size = int(reading["size"]["height"])
        self._mean, self._deviation = (
            torch.tensor(reading[name], device=device)[:, None, None] for name in ("image_mean", "image_std")
        )
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        self.name = f"{manifest['name']}-v{manifest['version']}"
        """What figures are identified by."""

    def of(self, pictures: Tensor) -> npt.NDArray[np.float32]:
        """[n, 3, s, s] from -1 to 1 -> [n, d]."""
        parts = [self._seen(each.to(self._device)) for each in torch.split(pictures, _ROWS)]
        points: npt.NDArray[np.float32] = torch.cat(parts).numpy()
        return points

    @torch.no_grad()
    def _seen(self, pictures: Tensor) -> Tensor:
        shares = (sized(pictures, self._size) + 1) / 2
        pixels = (shares.clamp(0, 1) - self._mean) / self._deviation
        seen: Tensor = self._model(pixel_values=pixels).pooler_output
        return seen.float().cpu()


def sized(pictures: Tensor, size: int) -> Tensor:
    """[n, 3, s, s] -> [n, 3, size, size] as the tower learnt: smaller by squares, larger bilinear.

    Raises ValueError where squares do not fit.
    """
    have = pictures.shape[-1]
    if have <= size:
        return functional.interpolate(pictures, size=size, mode="bilinear") if have < size else pictures
    if have % size:
        raise ValueError(f"pictures of {have} pixels a side do not shrink to {size} by squares")
    return functional.avg_pool2d(pictures, have // size)
