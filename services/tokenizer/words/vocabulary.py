"""The words of a model in one block of bytes that may lie on disk, found by bisection."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt


class Vocabulary:
    """Words numbered by frequency, 0 the commonest.

    A dictionary of three million words takes half a gigabyte; these arrays are views of a mapped file
    and take nothing until they are read.
    """

    def __init__(
        self,
        text: npt.NDArray[np.uint8],
        ends: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        lowercase: bool = False,
    ) -> None:
        """``text``: all words' UTF-8, one after the other. ``ends``: byte after each, shape [words].

        ``order``: numbers of the words sorted by their bytes. ``lowercase``: the model knows lower-case
        words only, so words asked for are lowered first.
        """
        self._text = text
        self._ends = ends
        self._order = order
        self._lowercase = lowercase

    def __len__(self) -> int:
        return len(self._ends)

    def number(self, word: str) -> int | None:
        """The number of ``word``; None when it is not known."""
        wanted = (word.lower() if self._lowercase else word).encode()
        place = bisect_left(self._sorted, wanted)
        if place < len(self) and self._sorted[place] == wanted:
            return int(self._order[place])
        return None

    def word(self, number: int) -> str:
        """The word with this number."""
        return self._bytes(number).decode(errors="replace")

    @cached_property
    def _sorted(self) -> Sequence[bytes]:
        return _Sorted(self)

    def _bytes(self, number: int) -> bytes:
        start = int(self._ends[number - 1]) if number else 0
        return self._text[start : int(self._ends[number])].tobytes()


class _Sorted(Sequence[bytes]):
    """The words in the order of their bytes, read one at a time."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # bisection asks for single places only
        return self._vocabulary._bytes(int(self._vocabulary._order[place]))


def layout(words: Sequence[bytes]) -> dict[str, npt.NDArray[np.generic]]:
    """The three arrays of a vocabulary by their names, for words that all differ."""
    ends = np.cumsum([len(word) for word in words], dtype=np.int64)
    order = sorted(range(len(words)), key=words.__getitem__)
    text = np.frombuffer(b"".join(words), np.uint8)
    return {"text": text, "ends": ends, "order": np.array(order, np.int32)}
