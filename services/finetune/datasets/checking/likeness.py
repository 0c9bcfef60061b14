"""Finds pictures that look nearly the same: a difference hash, then eight by eight colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_BITS_APART = 6
"""Of 64."""
_COLOURS_APART = 5.0
"""Mean difference of the small pictures, of 255: re-encoding and scaling stay below, another hat does not."""
_FIRST_ROOM = 1024


@dataclass(frozen=True)
class Look:
    """What a picture looks like, small."""

    bits: np.uint64
    colours: npt.NDArray[np.uint8]
    """[8, 8, 3]."""


def look_at(picture: Image.Image) -> Look:
    """``picture`` in RGB."""
    gray = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(gray[:, 1:] > gray[:, :-1])
    colours = np.asarray(picture.resize((8, 8), Image.Resampling.BOX), np.uint8)
    return Look(np.uint64(int.from_bytes(bits.tobytes(), "big")), colours)


class Likeness:
    """Remembers pictures; each new one is compared with all that were like none before.

    A hundred thousand comparisons of hashes take some 0.1 ms; colours are compared where hashes are near.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._bits = np.zeros(_FIRST_ROOM, np.uint64)
        self._colours = np.zeros((_FIRST_ROOM, 8, 8, 3), np.uint8)

    def like(self, path: str, look: Look) -> str:
        """Path of an earlier picture that looks nearly the same; "" when none does."""
        count = len(self._paths)
        near = np.flatnonzero(np.bitwise_count(self._bits[:count] ^ look.bits) <= _BITS_APART)
        apart = np.abs(self._colours[near].astype(np.int16) - look.colours).mean(axis=(1, 2, 3))
        alike = near[apart <= _COLOURS_APART]
        if alike.size:
            return self._paths[int(alike[0])]
        self._remember(path, look)
        return ""

    def _remember(self, path: str, look: Look) -> None:
        count = len(self._paths)
        if count == len(self._bits):
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)])
            self._colours = np.concatenate([self._colours, np.zeros_like(self._colours)])
        self._paths.append(path)
        self._bits[count] = look.bits
        self._colours[count] = look.colours
