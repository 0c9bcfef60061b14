"""Shannon's frequency table as a count trie: every sequence of up to N symbols and its count, in arrays."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from services.sampler.ngrams.alphabet import Ids

ROOT = 0
ABSENT = -1
_DENSE_CELLS = 1 << 24
"""Count by direct addressing while parents x symbols stays below this, by sorting beyond."""


@dataclass(frozen=True, eq=False)
class Level:
    """All sequences of one length, sorted: parents in the level above, then by symbol.

    ``children[i]`` is how many sequences of this level extend the i-th sequence of the level above.
    """

    symbols: Ids
    counts: Ids
    children: Ids


def count_levels(documents: Sequence[Ids], alphabet_size: int, order: int) -> list[Level]:
    """Count every sequence of 1..``order`` symbols; none reaches across documents or UNKNOWN ids."""
    separator = np.array([ABSENT], np.int64)
    text = np.concatenate([part for document in documents for part in (document, separator)])
    levels: list[Level] = []
    begins = np.arange(text.size)
    nodes = np.zeros(text.size, np.int64)
    parents = 1
    for depth in range(order):
        inside = begins + depth < text.size
        begins, nodes = begins[inside], nodes[inside]
        symbols = text[begins + depth]
        kept = symbols >= 0
        begins = begins[kept]
        keys, nodes, counts = _tally(nodes[kept] * alphabet_size + symbols[kept], parents * alphabet_size)
        children = np.bincount(keys // alphabet_size, minlength=parents)
        levels.append(Level(keys % alphabet_size, counts, children))
        parents = keys.size
    return levels


def _tally(keys: Ids, cells: int) -> tuple[Ids, Ids, Ids]:
    """The distinct keys in ascending order, each key's place among them, and how often each occurs."""
    if cells > _DENSE_CELLS:
        distinct, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return distinct, places, counts
    tally = np.bincount(keys, minlength=cells)
    distinct = np.flatnonzero(tally)
    place = np.zeros(cells, np.int64)
    place[distinct] = np.arange(distinct.size)
    return distinct, place[keys], tally[distinct]


class Trie:
    """The levels joined: nodes numbered breadth first from the root 0, so that siblings stand together.

    A node is a sequence; its parent lacks the last symbol, its suffix link lacks the first.
    """

    def __init__(self, levels: Sequence[Level], alphabet_size: int) -> None:
        sizes = [level.symbols.size for level in levels]
        self.alphabet_size = alphabet_size
        self.order = len(levels)
        self.level_starts = np.cumsum([0, 1, *sizes])
        self.symbols = np.concatenate([[ABSENT], *(level.symbols for level in levels)]).astype(np.int64)
        self.counts = np.concatenate([[0], *(level.counts for level in levels)]).astype(np.int64)
        children = np.concatenate([*(level.children for level in levels), np.zeros(sizes[-1], np.int64)])
        self.first_child = np.concatenate([[1], 1 + np.cumsum(children, dtype=np.int64)])
        self.counts[ROOT] = self.counts[1 : 1 + sizes[0]].sum()
        self.totals = self.sum_over_children(self.counts).astype(np.int64)
        self._symbol_view = self.symbols.data
        self._first_view = self.first_child.data

    @property
    def size(self) -> int:
        """Number of nodes, the root included."""
        return int(self.symbols.size)

    @cached_property
    def parents(self) -> Ids:
        """Parent of each node; the root's is the root."""
        return np.concatenate([[ROOT], np.repeat(np.arange(self.size), np.diff(self.first_child))])

    @cached_property
    def depths(self) -> Ids:
        """Length of each node's sequence."""
        return np.repeat(np.arange(self.order + 1), np.diff(self.level_starts))

    @cached_property
    def _keys(self) -> Ids:
        """Of each node but the root, parent x alphabet + symbol; ascending, since nodes are sorted so."""
        return self.parents[1:] * self.alphabet_size + self.symbols[1:]

    @cached_property
    def links(self) -> Ids:
        """Suffix link of each node: its sequence without the first symbol; the root links to itself."""
        links = np.zeros(self.size, np.int64)
        for start, end in zip(self.level_starts[2:-1], self.level_starts[3:], strict=True):
            level = slice(start, end)
            links[level] = self.children(links[self.parents[level]], self.symbols[level])
        return links

    @cached_property
    def link_view(self) -> memoryview[int]:
        """``links`` for quick reading of single entries."""
        return self.links.data

    def sum_over_children(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """For every node, the sum of ``values`` over its children; exact for whole numbers below 2**53."""
        sums = np.bincount(self.parents[1:], weights=values[1:], minlength=self.size)
        return sums.astype(np.float64, copy=False)

    def child(self, node: int, symbol: int) -> int:
        """The node of ``node``'s sequence with ``symbol`` appended, or ABSENT."""
        begin, end = self._first_view[node], self._first_view[node + 1]
        place = bisect_left(self._symbol_view, symbol, begin, end)
        return place if place < end and self._symbol_view[place] == symbol else ABSENT

    def children(self, nodes: Ids, symbols: Ids) -> Ids:
        """``child`` for arrays; ABSENT nodes and UNKNOWN symbols give ABSENT."""
        keys = nodes * self.alphabet_size + symbols
        places = np.searchsorted(self._keys, keys)
        found = (nodes >= 0) & (symbols >= 0) & (places < self._keys.size)
        found[found] = self._keys[places[found]] == keys[found]
        return np.where(found, places + 1, ABSENT)

    def contexts(self, ids: Ids, longest: int) -> list[Ids]:
        """For each length 0..``longest``, the node of that many symbols before each position, or ABSENT."""
        nodes = [np.zeros(ids.size, np.int64)]
        for _ in range(longest):
            longer = np.full(ids.size, ABSENT, np.int64)
            longer[1:] = self.children(nodes[-1][:-1], ids[:-1])
            nodes.append(longer)
        return nodes
