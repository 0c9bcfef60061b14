"""Pictures as tensors: a service's files as [images, height, width, 3], and back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from gateway.kserve.tensors import Array, Tensor
from pequod.common.v1 import Image
from services.common.pictures.reading import read_picture
from services.common.pictures.writing import Format, write


async def read(name: str, images: Sequence[Image]) -> Tensor:
    """[images, height, width, 3] of RGB; all are of one size."""
    return Tensor(name, "UINT8", await asyncio.to_thread(_stacked, name, images))


async def written(pictures: Array) -> list[Image]:
    """A PNG of each of [images, height, width, 3]."""
    return await asyncio.to_thread(lambda: [Image(data=write(each, Format.PNG)) for each in pictures])


def _stacked(name: str, images: Sequence[Image]) -> Array:
    return np.stack([read_picture(name, each.data) for each in images])
