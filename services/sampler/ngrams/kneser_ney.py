"""Interpolated modified Kneser-Ney smoothing over a count trie.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", TR-10-98, 1998.
The longest contexts use the counts; shorter ones use in how many different contexts a symbol occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.sampler.ngrams.alphabet import Ids
from services.sampler.ngrams.chain import Floats
from services.sampler.ngrams.trie import ROOT, Trie

_FALLBACK = (0.5, 1.0, 1.5)
"""Discounts for counts 1, 2 and 3 or more where a level has too few rare sequences to estimate them."""


@dataclass(frozen=True, eq=False)
class _Estimate:
    """One kind of counts after discounting."""

    discounted: Floats
    """Of each node: its discounted count over its context's total."""
    backoff: Floats
    """Of each node as a context: the probability left for shorter contexts; 1 where nothing is counted."""


class KneserNey:
    """The estimates of a trie, for any order up to its own."""

    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        preceding = np.bincount(trie.links[trie.level_starts[2] :], minlength=trie.size)
        preceding[ROOT] = 0
        self._counted = _estimate(trie, trie.counts)
        self._continued = _estimate(trie, preceding)

    def distribution(self, context: int, order: int) -> Floats:
        """Probabilities of all symbols after the context node, read at ``order``; they sum to 1."""
        trie = self._trie
        path = [context]
        while path[-1] != ROOT:
            path.append(trie.link_view[path[-1]])
        probabilities = np.full(trie.alphabet_size, 1.0 / trie.alphabet_size)
        for length, node in enumerate(reversed(path)):
            estimate = self._level(length, order)
            children = slice(trie.first_child[node], trie.first_child[node + 1])
            probabilities *= estimate.backoff[node]
            probabilities[trie.symbols[children]] += estimate.discounted[children]
        return probabilities

    def probabilities(self, contexts: list[Ids], symbols: Ids) -> Floats:
        """Probability of each symbol; ``contexts[k]`` are the nodes of the k symbols before it, or ABSENT."""
        order = len(contexts)
        result = np.full(symbols.size, 1.0 / self._trie.alphabet_size)
        for length, nodes in enumerate(contexts):
            estimate = self._level(length, order)
            children = self._trie.children(nodes, symbols)
            result *= np.where(nodes >= 0, estimate.backoff[nodes], 1.0)
            result += np.where(children >= 0, estimate.discounted[children], 0.0)
        return np.where(symbols >= 0, result, 0.0)

    def _level(self, context_length: int, order: int) -> _Estimate:
        return self._counted if context_length == order - 1 else self._continued


def _estimate(trie: Trie, counts: Ids) -> _Estimate:
    """Discount ``counts``, with discounts for each length from that length's counts of counts."""
    discounts = np.array([_discounts(counts[trie.depths == depth]) for depth in range(trie.order + 1)])
    kept = np.maximum(counts - discounts[trie.depths, np.minimum(counts, 3)], 0.0)
    totals = trie.sum_over_children(counts)
    counted = totals > 0
    divisors = np.where(counted, totals, 1.0)
    backoff = np.where(counted, trie.sum_over_children(counts - kept) / divisors, 1.0)
    return _Estimate(discounted=kept / divisors[trie.parents], backoff=backoff)


def _discounts(counts: Ids) -> tuple[float, float, float, float]:
    """Discounts for counts 0, 1, 2 and 3 or more: equation 26 of the paper."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == k)) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return (0.0, *_FALLBACK)
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 < estimate <= k for k, estimate in enumerate(estimates, start=1)):
        return (0.0, *_FALLBACK)
    return (0.0, *estimates)
