"""The count trie: by hand, against brute force, on disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sampler.families import ngram
from services.sampler.ngrams import trie as trie_module
from services.sampler.ngrams.alphabet import UNKNOWN
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.ngrams.trie import ABSENT, count_levels
from tests.unit.sampler.ngram_models import OPENING, distribution, no_derived_data, occurrences, table

texts = st.lists(st.text("ab ", max_size=25), min_size=1, max_size=3).filter(any)


def test_shannons_table_by_hand():
    model = table("ABRACADABRA", order=3)
    assert distribution(model, "", 1) == {"A": 5 / 11, "B": 2 / 11, "C": 1 / 11, "D": 1 / 11, "R": 2 / 11}
    assert distribution(model, "A", 2) == {"B": 2 / 4, "C": 1 / 4, "D": 1 / 4}
    assert distribution(model, "AB", 3) == {"R": 1.0}
    assert distribution(model, "ABRACADAB", 3) == {"R": 1.0}


def test_an_order_looks_at_no_more_than_it_says():
    model = table("ABRACADABRA", order=3)
    assert distribution(model, "RA", 2) == distribution(model, "A", 2)
    assert distribution(model, "RA", 3) == {"C": 1.0}


def test_backing_off_takes_the_longest_suffix_that_was_seen_and_goes_on():
    model = table("ABRACADABRA", order=5)
    chain = model.chain(NgramOptions(5))
    never_seen = chain.following(chain.start(model.alphabet.encode("DRA")))
    assert (never_seen.context_used, never_seen.context_count) == (2, 2)  # RA; DRA does not occur
    at_the_end = chain.following(chain.start(model.alphabet.encode("ABRA")))
    assert (at_the_end.context_used, at_the_end.context_count) == (4, 2)  # the second ABRA ends the text
    assert at_the_end.counts.tolist() == [1]
    only_at_the_end = chain.following(chain.start(model.alphabet.encode("DABR")[:0]))
    assert only_at_the_end.context_used == 0


def test_a_context_seen_only_at_the_end_of_the_text_backs_off():
    model = table("ABCABD", order=4)
    assert distribution(model, "ABD", 4) == distribution(model, "", 1)


@given(texts, st.integers(1, 5))
def test_counts_equal_brute_force(documents, order):
    model = table(*documents, order=order)
    trie = model.trie
    sequences = {d[i : i + n] for d in documents for n in range(1, order + 1) for i in range(len(d) - n + 1)}
    assert trie.size == 1 + len(sequences)
    for sequence in sequences:
        node = 0
        for symbol in model.alphabet.encode(sequence).tolist():
            node = trie.child(node, symbol)
        assert trie.counts[node] == occurrences(sequence, *documents)
        shorter = 0
        for symbol in model.alphabet.encode(sequence[1:]).tolist():
            shorter = trie.child(shorter, symbol)
        assert trie.links[node] == shorter


@given(texts, st.text("ab ", max_size=6), st.integers(1, 5))
def test_the_distribution_equals_brute_force(documents, context, order):
    model = table(*documents, order=order)
    context = "".join(c for c in context if c in model.alphabet.characters)
    tail = context[max(len(context) - order + 1, 0) :]
    while True:
        counts = {c: occurrences(tail + c, *documents) for c in model.alphabet.characters}
        if any(counts.values()):
            break
        tail = tail[1:]
    total = sum(counts.values())
    expected = {c: n / total for c, n in counts.items() if n}
    assert distribution(model, context, order) == pytest.approx(expected)


@given(st.text("ab ", min_size=1, max_size=30), st.lists(st.integers(-1, 2), min_size=1, max_size=30))
def test_scoring_at_once_equals_walking(document, ids):
    model = table(document, order=4)
    ids = np.minimum(np.array(ids), model.alphabet.size - 1)
    chain = model.chain(NgramOptions(4))
    begin = ids.size // 3
    scores = chain.score(ids, begin, ids.size)
    for place in range(begin, ids.size):
        following = chain.following(chain.start(ids[:place]))
        found = dict(zip(following.symbols.tolist(), following.probabilities.tolist(), strict=True))
        assert scores.probabilities[place - begin] == pytest.approx(found.get(int(ids[place]), 0.0))
        assert scores.contexts_used[place - begin] == following.context_used


def test_nothing_reaches_across_documents_or_unknown_characters():
    model = table("AB", "CD", order=2)
    assert distribution(model, "B", 2) == distribution(model, "", 1)
    ids = np.array([0, UNKNOWN, 1])
    (level,) = count_levels([ids], 2, 1)
    assert level.counts.tolist() == [1, 1]
    pairs = count_levels([ids], 2, 2)[1]
    assert pairs.counts.size == 0


def test_sorting_and_addressing_count_the_same(monkeypatch):
    ids = np.random.default_rng(0).integers(0, 5, 500)
    addressed = count_levels([ids], 5, 4)
    monkeypatch.setattr(trie_module, "_DENSE_CELLS", 0)
    for one, other in zip(addressed, count_levels([ids], 5, 4), strict=True):
        assert (one.symbols == other.symbols).all()
        assert (one.counts == other.counts).all()
        assert (one.children == other.children).all()


def test_a_huge_vocabulary_needs_no_huge_table():
    ids = np.random.default_rng(0).integers(0, 100_000, 3000)
    levels = count_levels([ids], 100_000, 6)
    assert all(level.counts.sum() == 3000 - n for n, level in enumerate(levels))


def test_an_unknown_symbol_has_no_children():
    trie = table("ABAB", order=2).trie
    assert trie.children(np.array([0, 0, ABSENT]), np.array([0, UNKNOWN, 1])).tolist() == [1, ABSENT, ABSENT]


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model = table(OPENING, order=4)
    levels = count_levels([model.alphabet.encode(OPENING)], model.alphabet.size, 4)
    path = ngram.save(levels, tmp_path)
    config = {"order": 4, "alphabet": {"kind": "text", "characters": model.alphabet.characters}}
    loaded = ngram.load(config, tmp_path, no_derived_data)
    assert (loaded.trie.counts == model.trie.counts).all()
    assert (loaded.trie.symbols == model.trie.symbols).all()
    assert (loaded.trie.first_child == model.trie.first_child).all()
    assert path.stat().st_size < 10_000
