"""Pictures as tensors, and tensors as pictures to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from services.finetune.recipes.peeps.drawing import Pixels

_GAP = 2


def pictures(images: Pixels | Tensor) -> Tensor:
    """[n, size, size, 3] bytes -> [n, 3, size, size] from -1 to 1, where the bytes are."""
    held = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    return held.permute(0, 3, 1, 2).float() / 127.5 - 1


def pixels(tensor: Tensor) -> Pixels:
    """The way back."""
    rounded = ((tensor.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def save_sheet(tensor: Tensor, file: Path, columns: int, enlarge: int = 3) -> None:
    """Write pictures side by side, each pixel ``enlarge`` pixels wide."""
    images = pixels(tensor).repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    size = images.shape[1] + _GAP
    rows = -(-len(images) // columns)
    sheet = np.full((rows * size, columns * size, 3), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * size, place % columns * size
        sheet[top : top + len(image), left : left + len(image)] = image
    Image.fromarray(sheet).save(file)
