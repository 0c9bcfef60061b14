"""Family infinigram: an n-gram model of unbounded N over a suffix array.

Liu et al., "Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens", 2024. The
context is the longest suffix of the text so far that the corpus holds; nothing is counted in advance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from services.common.store.derived import Derive
from services.sampler.ngrams.alphabet import Alphabet, Ids, alphabet_from_config
from services.sampler.ngrams.chain import Following, NgramOptions, Scores, Smoothing
from services.sampler.ngrams.suffix_array import SuffixArray, build, unit_width
from services.sampler.ngrams.tensors import map_tensor

SYMBOLS_FILE = "symbols.safetensors"
SUFFIX_ARRAY_FILE = "suffix_array.safetensors"
BYTES_PER_FILE_BYTE = 5.0
"""A symbol of one byte comes with four of the suffix array; both are mapped."""


@dataclass(frozen=True)
class Config:
    """What ``model.json`` says of an infinigram model."""

    alphabet: Mapping[str, Any]
    stored_suffix_array: bool = False
    """Whether the suffix array is a file of the version; else it is derived from the symbols when loaded."""


@dataclass(frozen=True, slots=True)
class Match:
    """A context: the interval of the suffix array whose suffixes begin with it, and its length."""

    low: int
    high: int
    length: int


class Infinigram:
    """A suffix array and its alphabet."""

    smoothings = frozenset({Smoothing.BACKOFF})
    block = 16

    def __init__(self, alphabet: Alphabet, suffixes: SuffixArray) -> None:
        self.alphabet = alphabet
        self.suffixes = suffixes
        self.order = suffixes.size

    def chain(self, options: NgramOptions) -> SuffixChain:
        """The model read at ``options.order``; at its own order it is unbounded."""
        return SuffixChain(self.suffixes, self.alphabet.size, options.order)

    def count(self, ids: Ids) -> int:
        """How often ``ids`` occurs in the corpus."""
        low, high = self.suffixes.find(self.suffixes.encode(ids))
        return high - low


class SuffixChain:
    """The suffix array read at one order. A state is a match of at most ``order`` - 1 symbols."""

    def __init__(self, suffixes: SuffixArray, separator: int, order: int) -> None:
        self._suffixes = suffixes
        self._separator = separator
        self._longest = order - 1

    def start(self, ids: Ids) -> Match:
        """Only the symbols after the last UNKNOWN id, and of those the last N-1, matter."""
        unknown = np.flatnonzero(ids < 0)
        begin = max(int(unknown[-1]) + 1 if unknown.size else 0, ids.size - self._longest)
        return self._longest_suffix(self._suffixes.encode(ids[begin:]))

    def advance(self, state: Match, symbol: int) -> Match:
        """One more symbol on the match while it may grow and goes on in the corpus; else a shorter suffix."""
        low, high = self._suffixes.narrow(state.low, state.high, state.length, symbol)
        return self._grown(state, symbol, low, high)

    def _grown(self, state: Match, symbol: int, low: int, high: int) -> Match:
        """``advance``, where low..high is the part of the match that goes on with the symbol."""
        suffixes = self._suffixes
        if state.length < self._longest and self._goes_on(low, high, state.length + 1):
            return Match(low, high, state.length + 1)
        seen = suffixes.text(suffixes.position(state.low), state.length)
        text = seen + symbol.to_bytes(suffixes.width, "big")
        longest = min(self._longest, state.length)
        return self._longest_suffix(text[len(text) - longest * suffixes.width :])

    def following(self, state: Match) -> Following:
        """The symbols after the match, the document separator left out."""
        symbols, counts = self._suffixes.next_symbols(state.low, state.high, state.length)
        if symbols[-1] == self._separator:
            symbols, counts = symbols[:-1], counts[:-1]
        return Following(symbols, counts, counts / counts.sum(), state.length, state.high - state.low)

    def score(self, ids: Ids, begin: int, end: int) -> Scores:
        """Position by position, following the match along the text."""
        state = self.start(ids[:begin])
        probabilities, used = np.zeros(end - begin), np.zeros(end - begin, np.int64)
        for place, symbol in enumerate(ids[begin:end].tolist()):
            used[place] = state.length
            if symbol < 0:
                state = self._longest_suffix(b"")
                continue
            low, high = self._suffixes.narrow(state.low, state.high, state.length, symbol)
            probabilities[place] = (high - low) / self._continued(state)
            state = self._grown(state, symbol, low, high)
        return Scores(probabilities, used)

    def _continued(self, state: Match) -> int:
        """Occurrences that a symbol follows: all but those at the ends of documents, which sort last."""
        if self._suffixes.symbol_after(state.high - 1, state.length) != self._separator:
            return state.high - state.low
        ends, _ = self._suffixes.narrow(state.low, state.high, state.length, self._separator)
        return ends - state.low

    def _longest_suffix(self, text: bytes) -> Match:
        """The longest suffix of ``text`` that occurs and goes on: occurrence is monotone in length."""
        width = self._suffixes.width
        total = len(text) // width
        best = Match(0, self._suffixes.size, 0)
        tried = 1
        while tried <= total and (match := self._match(text, tried)):
            best, tried = match, 2 * tried
        shortest_failing = min(tried, total + 1)
        while shortest_failing - best.length > 1:
            middle = (best.length + shortest_failing) // 2
            if match := self._match(text, middle):
                best = match
            else:
                shortest_failing = middle
        return best

    def _match(self, text: bytes, length: int) -> Match | None:
        low, high = self._suffixes.find(text[len(text) - length * self._suffixes.width :])
        return Match(low, high, length) if self._goes_on(low, high, length) else None

    def _goes_on(self, low: int, high: int, length: int) -> bool:
        """Whether a symbol follows anywhere in the interval: the separator, if any, sorts last."""
        return low < high and self._suffixes.symbol_after(low, length) != self._separator


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> Infinigram:
    """The model in ``folder``; a suffix array that is no file of the version is derived once."""
    checked = Config(config["alphabet"], bool(config.get("stored_suffix_array", False)))
    alphabet = alphabet_from_config(checked.alphabet, folder)
    text = map_tensor(folder / SYMBOLS_FILE, "symbols")
    width = unit_width(alphabet.size)

    def derive_suffix_array(target: Path) -> dict[str, Any]:
        save_suffix_array(build(text.values, width), target)
        return {"symbols": text.values.size // width}

    if not checked.stored_suffix_array:
        folder = derive("suffix_array", derive_suffix_array)
    order = map_tensor(folder / SUFFIX_ARRAY_FILE, "suffix_array").values
    if order.size * width != text.values.size:
        raise ValueError(f"the suffix array has {order.size} places for {text.values.size // width} symbols")
    return Infinigram(alphabet, SuffixArray(text.values, order, width, raw=(text.file, text.begin)))


def save_symbols(text: npt.NDArray[np.uint8], folder: Path) -> Path:
    """Write a coded text; returns the file."""
    save_file({"symbols": text}, folder / SYMBOLS_FILE)
    return folder / SYMBOLS_FILE


def save_suffix_array(order: npt.NDArray[Any], folder: Path) -> Path:
    """Write a suffix array; returns the file."""
    save_file({"suffix_array": np.ascontiguousarray(order)}, folder / SUFFIX_ARRAY_FILE)
    return folder / SUFFIX_ARRAY_FILE
