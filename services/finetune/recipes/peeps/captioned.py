"""Avatars with their captions as tensors, all of them on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from services.finetune.recipes.peeps import words
from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.captions import caption
from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.drawing import Pixels, shrink
from services.finetune.recipes.peeps.pictures import pictures

_WAYS = 4
"""Captions of an avatar, each telling other parts in another order."""
_PART = 4000


@dataclass(frozen=True)
class Batch:
    """Some avatars."""

    pictures: Tensor
    """[n, 3, size, size] from -1 to 1."""
    ids: Tensor
    """[n, tokens] of int64."""
    mask: Tensor
    """[n, tokens] of bool: what is no padding."""


class Captioned:
    """A folder of avatars at one size, to draw batches of."""

    def __init__(self, data: Peeps, size: int, tokenizer: Tokenizer, device: torch.device, seed: int) -> None:
        # Before anything goes to a GPU: processes cannot be forked after that.
        ids, mask = words.encode(tokenizer, told(data.avatars, seed))
        self._ids, self._mask = (
            torch.from_numpy(each.astype(kind)).to(device)
            for each, kind in ((ids, np.int16), (mask, np.bool_))
        )
        self._images = torch.from_numpy(at_size(data.images, size)).to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def draw(self, count: int, chance: np.random.Generator) -> Batch:
        """``count`` avatars, each with one of its captions. Raises ValueError for more than there are."""
        places = chance.choice(len(self), count, replace=False)
        ways = places * _WAYS + chance.integers(0, _WAYS, count)
        where, way = (torch.from_numpy(each).to(self._device) for each in (places, ways))
        return Batch(pictures(self._images[where]), self._ids[way].long(), self._mask[way])


def told(avatars: Sequence[Avatar], seed: int) -> list[str]:
    """Captions of the first avatar, then of the second ..., the same for the same seed."""
    parts = [avatars[begin : begin + _PART] for begin in range(0, len(avatars), _PART)]
    if len(parts) == 1:
        return _told(parts[0], (seed, 0))
    with ProcessPoolExecutor() as processes:
        made = processes.map(_told, parts, [(seed, number) for number in range(len(parts))])
        return list(chain.from_iterable(made))


def _told(avatars: Sequence[Avatar], seed: tuple[int, int]) -> list[str]:
    chance = np.random.default_rng(seed)
    return [caption(avatar, chance) for avatar in avatars for _ in range(_WAYS)]


def at_size(images: Pixels, size: int) -> Pixels:
    """[n, size, size, 3] of bytes, shrunk a part at a time."""
    if images.shape[1] == size:
        return images
    parts = [shrink(images[begin : begin + _PART], size) for begin in range(0, len(images), _PART)]
    return np.concatenate(parts)
