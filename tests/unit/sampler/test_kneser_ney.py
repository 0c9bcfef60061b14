"""Kneser-Ney: against a straightforward implementation of the paper's recursion."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sampler.ngrams.chain import NgramOptions, Smoothing
from services.sampler.ngrams.kneser_ney import _discounts
from tests.unit.sampler.ngram_models import OPENING, distribution, table


class Reference:
    """Chen and Goodman's equations over dictionaries of strings."""

    def __init__(self, text: str, order: int):
        self.order = order
        self.symbols = sorted(set(text))
        grams = {n: Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, order + 1)}
        self.counts = {}
        for n in range(1, order + 1):
            if n == order:
                self.counts[n] = grams[n]
            else:
                before = defaultdict(set)
                for longer in grams[n + 1]:
                    before[longer[1:]].add(longer[0])
                self.counts[n] = Counter({g: len(before[g]) for g in grams[n]})
        self.discounts = {n: self._discounts(self.counts[n]) for n in self.counts}

    @staticmethod
    def _discounts(counts):
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return (0, 0.5, 1, 1.5)
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return (0, *found) if all(0 < d <= k for k, d in enumerate(found, 1)) else (0, 0.5, 1, 1.5)

    def probability(self, context: str, symbol: str) -> float:
        n = len(context) + 1
        lower = 1 / len(self.symbols) if n == 1 else self.probability(context[1:], symbol)
        followers = {s: self.counts[n][context + s] for s in self.symbols}
        total = sum(followers.values())
        if not total:
            return lower
        discount = self.discounts[n]
        kept = {s: max(c - discount[min(c, 3)], 0) for s, c in followers.items()}
        return kept[symbol] / total + (total - sum(kept.values())) / total * lower


@given(st.text("abc ", min_size=1, max_size=60), st.text("abc ", max_size=5), st.integers(1, 4))
def test_it_equals_the_recursion_and_sums_to_one(text, context, order):
    model = table(text, order=4)
    context = "".join(c for c in context if c in text)[-order + 1 :] if order > 1 else ""
    reference = Reference(text, order)
    expected = {c: reference.probability(context, c) for c in reference.symbols}
    expected = {c: p for c, p in expected.items() if p}
    assert distribution(model, context, order, Smoothing.KNESER_NEY) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_on_real_text_with_estimated_discounts(order):
    model = table(OPENING, order=5)
    reference = Reference(OPENING, order)
    if order in (2, 3):
        assert reference.discounts[order] != (0, 0.5, 1, 1.5)
    for text in ("the", "ever", "", "zzzz", "f th"):
        context = "".join(c for c in text if c in OPENING)[-order + 1 :] if order > 1 else ""
        found = distribution(model, context, order, Smoothing.KNESER_NEY)
        for character in "aet. ":
            assert found[character] == pytest.approx(reference.probability(context, character), abs=1e-12)


def test_every_symbol_is_possible_everywhere():
    model = table(OPENING, order=4)
    for context in ("", "Cal", "qqq", "ion."):
        assert len(distribution(model, context, 4, Smoothing.KNESER_NEY)) == model.alphabet.size


def test_scoring_at_once_equals_the_distributions():
    model = table(OPENING, order=4)
    chain = model.chain(NgramOptions(4, Smoothing.KNESER_NEY))
    ids = model.alphabet.encode("Call the whale zorn, I say?")
    scores = chain.score(ids, 0, ids.size)
    for place, symbol in enumerate(ids.tolist()):
        expected = chain.following(chain.start(ids[:place])).probabilities[symbol] if symbol >= 0 else 0.0
        assert scores.probabilities[place] == pytest.approx(expected)


def test_discounts_of_the_papers_equation():
    counts = np.array([1] * 10 + [2] * 4 + [3] * 2 + [4] * 1 + [9])
    y = 10 / 18
    assert _discounts(counts) == pytest.approx((0, 1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5))
    assert _discounts(np.array([7, 8])) == (0.0, 0.5, 1.0, 1.5)
