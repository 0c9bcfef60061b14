"""An upscaler by ONNX Runtime: it doubles, as often as is asked for; large pictures a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.common.pictures.arrays import Array, to_array, to_pixels
from services.common.pictures.reading import Pixels
from services.common.runtimes import Runtime

_TILE = 256
"""Pixels of a side that are enlarged at once: a picture of 2048 whole would take gigabytes."""
_MARGIN = 24
"""Pixels around a tile that are looked at too: farther than the network sees, so tiles show no seam."""


@dataclass(eq=False)
class DoublingUpscaler:
    """Implements the diffusion service's ``Upscaler``. May be used from several threads at once."""

    name: str
    runtime: Runtime
    factors: tuple[int, ...] = (2, 4)

    def enlarge(self, picture: Pixels, factor: int) -> Pixels:
        """``factor`` times as wide and as high."""
        enlarged = to_array(picture)
        while factor > 1:
            enlarged, factor = self._doubled(enlarged), factor // 2
        return to_pixels(enlarged)

    def _doubled(self, picture: Array) -> Array:
        channels, height, width = picture.shape
        doubled = np.empty((channels, 2 * height, 2 * width), np.float32)
        for top, bottom in _parts(height):
            for left, right in _parts(width):
                above, before = max(top - _MARGIN, 0), max(left - _MARGIN, 0)
                seen = picture[:, above : bottom + _MARGIN, before : right + _MARGIN]
                made = self.runtime.run({"picture": np.ascontiguousarray(seen[None])})["enlarged"][0]
                inner = made[:, 2 * (top - above) :, 2 * (left - before) :]
                doubled[:, 2 * top : 2 * bottom, 2 * left : 2 * right] = inner[
                    :, : 2 * (bottom - top), : 2 * (right - left)
                ]
        return doubled

    def close(self) -> None:
        """Let go of the graph."""
        self.runtime.close()


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of tiles, the last one shorter."""
    for begin in range(0, size, _TILE):
        yield begin, min(begin + _TILE, size)
