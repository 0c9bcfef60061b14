"""A suffix array over a coded text: all occurrences of any sequence, found by binary search.

Manber and Myers, "Suffix arrays", 1993. Symbols are fixed-width big-endian units, so that the order
of bytes is the order of symbols; positions count symbols.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pydivsufsort

from services.sampler.ngrams.alphabet import Ids

_FANOUT = 32
"""Pieces that a search for borders cuts every interval into: few numpy rounds, small arrays."""


class Buffer(Protocol):
    """What slices to bytes: ``bytes`` itself or a memory-mapped file."""

    def __getitem__(self, part: slice, /) -> bytes: ...


def unit_width(alphabet_size: int) -> int:
    """Bytes a symbol takes: 1, 2 or 4, the separator of documents included."""
    return next(width for width in (1, 2, 4) if alphabet_size < 256**width)


def code(documents: Iterable[Ids], alphabet_size: int) -> npt.NDArray[np.uint8]:
    """The documents as one text of big-endian units; the separator, id ``alphabet_size``, ends each.

    UNKNOWN ids become separators too, so that no sequence reaches across them.
    """
    unit = np.dtype(f">u{unit_width(alphabet_size)}")
    parts = [np.empty(0, np.uint8)]
    for ids in documents:
        ended = np.append(np.where(ids < 0, alphabet_size, ids), alphabet_size)
        parts.append(ended.astype(unit).view(np.uint8))  # joining the units themselves would undo their order
    return np.concatenate(parts)


def build(text: npt.NDArray[np.uint8], width: int) -> npt.NDArray[Any]:
    """The positions of ``text`` sorted by the suffixes that begin there; 4 bytes each below 2**31 bytes."""
    order: npt.NDArray[Any] = pydivsufsort.divsufsort(text.tobytes())  # the library takes no read-only array
    return order if width == 1 else order[order % width == 0] // width


class SuffixArray:
    """Searches over a coded text. Intervals are half-open ranges of places in the array."""

    def __init__(
        self,
        text: npt.NDArray[np.uint8],
        order: npt.NDArray[Any],
        width: int,
        raw: tuple[Buffer, int] | None = None,
    ) -> None:
        """``raw`` is the text's buffer and its offset there, when it lives in a mapped file."""
        self.size = int(order.size)
        self.width = width
        self._symbols = text.view(f">u{width}")
        self._order = order
        self._places = order.view(f"=i{order.itemsize}").data
        self._buffer: Buffer
        self._buffer, self._offset = raw or (text.tobytes(), 0)

    def encode(self, ids: Ids) -> bytes:
        """The units of ``ids``."""
        return ids.astype(f">u{self.width}").tobytes()

    def text(self, begin: int, length: int) -> bytes:
        """The units of ``length`` symbols from position ``begin``."""
        start = self._offset + begin * self.width
        return self._buffer[start : start + length * self.width]

    def position(self, place: int) -> int:
        """Where in the text the suffix at ``place`` begins."""
        return self._places[place]

    def find(self, sequence: bytes, low: int = 0, high: int | None = None) -> tuple[int, int]:
        """The interval of all suffixes that begin with ``sequence``, searched within low..high."""
        buffer, offset, width, length = self._buffer, self._offset, self.width, len(sequence)

        def prefix(position: int) -> bytes:
            start = offset + position * width
            return buffer[start : start + length]

        end = self.size if high is None else high
        low = bisect_left(self._places, sequence, low, end, key=prefix)
        return low, bisect_right(self._places, sequence, low, end, key=prefix)

    def narrow(self, low: int, high: int, depth: int, symbol: int) -> tuple[int, int]:
        """Of an interval whose suffixes share ``depth`` symbols, the part that goes on with ``symbol``."""
        buffer, offset, width = self._buffer, self._offset, self.width
        unit = symbol.to_bytes(width, "big")

        def next_unit(position: int) -> bytes:
            start = offset + (position + depth) * width
            return buffer[start : start + width]

        low = bisect_left(self._places, unit, low, high, key=next_unit)
        return low, bisect_right(self._places, unit, low, high, key=next_unit)

    def symbol_after(self, place: int, depth: int) -> int:
        """The symbol ``depth`` positions into the suffix at ``place``."""
        return int(self._symbols[self._places[place] + depth])

    def next_symbols(self, low: int, high: int, depth: int) -> tuple[Ids, Ids]:
        """The symbols that follow in an interval whose suffixes share ``depth`` symbols, and their counts.

        Next symbols stand sorted, so only the borders between them are searched, all at once: every
        interval with unlike ends is cut into pieces until each holds one border.
        """
        left, right = np.array([low]), np.array([high - 1])
        if self._next(left, depth)[0] == self._next(right, depth)[0]:
            return self._next(left, depth), right + 1 - left
        steps = np.arange(_FANOUT + 1)
        while (right - left).max() > 1:
            grid = left[:, None] + (right - left)[:, None] * steps // _FANOUT
            symbols = self._next(grid, depth)
            unlike = symbols[:, 1:] != symbols[:, :-1]
            left, right = grid[:, :-1][unlike], grid[:, 1:][unlike]
        begins = np.concatenate([[low], right])
        return self._next(begins, depth), np.diff(begins, append=high)

    def _next(self, places: Ids, depth: int) -> Ids:
        return self._symbols[self._order[places].astype(np.int64) + depth].astype(np.int64)
