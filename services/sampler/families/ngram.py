"""Family ngram: Shannon's frequency table of all sequences up to N symbols, with back-off or Kneser-Ney.

Shannon, "A Mathematical Theory of Communication", 1948, section 3.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.common.store.derived import Derive
from services.sampler.ngrams import dense
from services.sampler.ngrams.alphabet import Alphabet, Ids, alphabet_from_config
from services.sampler.ngrams.chain import Following, NgramOptions, Scores, Smoothing
from services.sampler.ngrams.kneser_ney import KneserNey
from services.sampler.ngrams.trie import ABSENT, ROOT, Level, Trie

COUNTS_FILE = "counts.safetensors"
BYTES_PER_FILE_BYTE = 30.0
"""A sequence takes three to four bytes in the file, about a hundred in memory with links and Kneser-Ney."""


@dataclass(frozen=True)
class Config:
    """What ``model.json`` says of an ngram model."""

    order: int
    alphabet: Mapping[str, Any]


class Ngram:
    """A count trie and its alphabet."""

    smoothings = frozenset(Smoothing)
    block = 256

    def __init__(self, alphabet: Alphabet, levels: Sequence[Level]) -> None:
        self.alphabet = alphabet
        self.order = len(levels)
        self.trie = Trie(levels, alphabet.size)

    @cached_property
    def kneser_ney(self) -> KneserNey:
        """Computed on first use: most callers never ask for it."""
        return KneserNey(self.trie)

    def chain(self, options: NgramOptions) -> TrieChain:
        """The model read at ``options.order``."""
        smoothed = options.smoothing is Smoothing.KNESER_NEY
        return TrieChain(self.trie, options.order, self.kneser_ney if smoothed else None)


class TrieChain:
    """The trie read at one order. A state is a node shorter than ``order`` that has children."""

    def __init__(self, trie: Trie, order: int, kneser_ney: KneserNey | None) -> None:
        self._trie = trie
        self._order = order
        self._kneser_ney = kneser_ney
        self._too_long = int(trie.level_starts[order])
        self._level_starts = trie.level_starts.tolist()
        self._totals = trie.totals.data

    def start(self, ids: Ids) -> int:
        """Only the last N-1 ids matter."""
        state = ROOT
        for symbol in ids[max(ids.size - self._order + 1, 0) :].tolist():
            state = self.advance(state, symbol) if symbol >= 0 else ROOT
        return state

    def advance(self, state: int, symbol: int) -> int:
        """Follow the symbol from the longest suffix that has it (Aho and Corasick, 1975)."""
        trie, links = self._trie, self._trie.link_view
        node = trie.child(state, symbol)
        while node == ABSENT and state != ROOT:
            state = links[state]
            node = trie.child(state, symbol)
        if node == ABSENT:
            return ROOT
        while node >= self._too_long or not self._totals[node]:
            node = links[node]
        return node

    def following(self, state: int) -> Following:
        """The children of the state's node; with Kneser-Ney, every symbol."""
        trie = self._trie
        children = slice(int(trie.first_child[state]), int(trie.first_child[state + 1]))
        symbols, counts = trie.symbols[children], trie.counts[children]
        depth = bisect_right(self._level_starts, state) - 1
        context_count = int(trie.counts[state])
        if self._kneser_ney is None:
            return Following(symbols, counts, counts / self._totals[state], depth, context_count)
        probabilities = self._kneser_ney.distribution(state, self._order)
        everything = np.arange(trie.alphabet_size)
        all_counts = np.zeros(trie.alphabet_size, np.int64)
        all_counts[symbols] = counts
        return Following(everything, all_counts, probabilities, depth, context_count)

    def score(self, ids: Ids, begin: int, end: int) -> Scores:
        """All positions at once: the context nodes of every length, then the symbol below them."""
        trie = self._trie
        base = max(begin - self._order + 1, 0)
        contexts = [nodes[begin - base :] for nodes in trie.contexts(ids[base:end], self._order - 1)]
        symbols = ids[begin:end]
        state = np.zeros(symbols.size, np.int64)
        used = np.zeros(symbols.size, np.int64)
        for length, nodes in enumerate(contexts):
            seen = (nodes >= 0) & (trie.totals[nodes] > 0)
            state, used = np.where(seen, nodes, state), np.where(seen, length, used)
        if self._kneser_ney is not None:
            return Scores(self._kneser_ney.probabilities(contexts, symbols), used)
        children = trie.children(state, symbols)
        return Scores(np.where(children >= 0, trie.counts[children], 0) / trie.totals[state], used)


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> Ngram:
    """The model in ``folder``; nothing needs to be derived from it."""
    return _read(config, folder)


def _read(config: Mapping[str, Any], folder: Path) -> Ngram:
    checked = Config(order=int(config["order"]), alphabet=config["alphabet"])
    tensors = load_file(folder / COUNTS_FILE)
    levels = [
        Level(
            symbols=tensors[f"order{n}.symbols"].astype(np.int64),
            counts=tensors[f"order{n}.counts"].astype(np.int64),
            children=tensors[f"order{n}.children"].astype(np.int64),
        )
        for n in range(1, checked.order + 1)
    ]
    return Ngram(alphabet_from_config(checked.alphabet, folder), levels)


def graphs(config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
    """The model with back-off at its own order as a graph, while a dense table of it is small enough.

    FAILED_PRECONDITION beyond that, and at order 1, where there is no context to give.
    """
    import torch

    trie = _read(config, folder).trie
    if trie.order == 1:
        raise unsupported("an n-gram model of order 1 takes no context, so there is no graph to export")
    context = torch.arange(3 * (trie.order - 1)).reshape(3, trie.order - 1) % trie.alphabet_size
    spec = GraphSpec(
        module=dense.module(trie),
        example_inputs={"context": context},
        output_names=("log_probabilities",),
        dynamic={"context": {0: "batch"}},
        tolerance=1e-6,
    )
    return {"model": spec}


def save(levels: Sequence[Level], folder: Path) -> Path:
    """Write the counts with the smallest integer types that hold them; returns the file."""
    tensors = {
        f"order{n}.{name}": values.astype(np.min_scalar_type(int(values.max())))
        for n, level in enumerate(levels, start=1)
        for name, values in (
            ("symbols", level.symbols),
            ("counts", level.counts),
            ("children", level.children),
        )
    }
    path = folder / COUNTS_FILE
    save_file(tensors, path)
    return path
