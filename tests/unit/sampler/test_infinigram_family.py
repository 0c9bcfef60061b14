"""The suffix array: exact counts for any sequence, back-off to the longest suffix, files and derived data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from services.common.store.derived import derive
from services.sampler.families import infinigram
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.ngrams.suffix_array import SuffixArray, build, code, unit_width
from services.sampler.ngrams.tensors import map_tensor
from tests.unit.sampler.ngram_models import (
    OPENING,
    distribution,
    no_derived_data,
    occurrences,
    table,
    unbounded,
)

texts = st.lists(st.text("ab ", max_size=25), min_size=1, max_size=3).filter(any)


@given(texts, st.text("ab ", max_size=6))
def test_counts_equal_brute_force(documents, sequence):
    model = unbounded(*documents)
    sequence = "".join(c for c in sequence if c in model.alphabet.characters)
    if sequence:
        assert model.count(model.alphabet.encode(sequence)) == occurrences(sequence, *documents)


@given(texts, st.text("ab ", max_size=8), st.integers(1, 5))
def test_it_agrees_with_the_counted_table(documents, context, order):
    counted, searched = table(*documents, order=order), unbounded(*documents)
    context = "".join(c for c in context if c in counted.alphabet.characters)
    chains = [model.chain(NgramOptions(order)) for model in (counted, searched)]
    ids = counted.alphabet.encode(context)
    one, other = (chain.following(chain.start(ids)) for chain in chains)
    assert one.symbols.tolist() == other.symbols.tolist()
    assert one.counts.tolist() == other.counts.tolist()
    assert one.context_used == other.context_used
    if one.context_used:  # the empty context also counts the ends of documents
        assert one.context_count == other.context_count


@given(texts, st.lists(st.integers(0, 2), max_size=30), st.sampled_from([1, 2, 4, 100]))
def test_advancing_equals_starting_again(documents, ids, order):
    model = unbounded(*documents)
    ids = np.minimum(np.array(ids, np.int64), model.alphabet.size - 1)
    chain = model.chain(NgramOptions(order))
    state = chain.start(ids[:0])
    for place, symbol in enumerate(ids.tolist()):
        state = chain.advance(state, symbol)
        assert state == chain.start(ids[: place + 1])


@given(texts, st.lists(st.integers(-1, 2), min_size=1, max_size=20), st.sampled_from([1, 3, 100]))
def test_scoring_equals_the_distributions(documents, ids, order):
    model = unbounded(*documents)
    ids = np.minimum(np.array(ids), model.alphabet.size - 1)
    chain = model.chain(NgramOptions(order))
    begin = ids.size // 3
    scores = chain.score(ids, begin, ids.size)
    for place in range(begin, ids.size):
        following = chain.following(chain.start(ids[:place]))
        found = dict(zip(following.symbols.tolist(), following.probabilities.tolist(), strict=True))
        assert scores.probabilities[place - begin] == pytest.approx(found.get(int(ids[place]), 0.0))
        assert scores.contexts_used[place - begin] == following.context_used


def test_the_whole_text_is_a_context():
    model = unbounded(OPENING)
    assert distribution(model, OPENING[:-1], model.order) == {".": 1.0}
    assert distribution(model, "xyzzy" + OPENING[20:90], model.order) == {OPENING[90]: 1.0}


def test_an_unknown_character_breaks_the_context():
    model = unbounded("ABCABD")
    chain = model.chain(NgramOptions(model.order))
    assert chain.following(chain.start(model.alphabet.encode("C\N{SNOWMAN}AB"))).context_used == 2


def test_no_context_reaches_across_documents():
    model = unbounded("AB", "CD")
    assert model.count(model.alphabet.encode("BC")) == 0
    assert distribution(model, "AB", model.order) == distribution(model, "", 1)


@pytest.mark.parametrize(("size", "width"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_units_are_as_wide_as_the_alphabet_needs(size, width):
    assert unit_width(size) == width


@pytest.mark.parametrize("size", [255, 700, 70_000])
def test_only_aligned_positions_count(size):
    """With units of several bytes, the bytes of two neighbours must not be taken for a symbol."""
    rng = np.random.default_rng(1)
    ids = rng.integers(0, size, 400)
    ids[100:104] = ids[200:204]
    width = unit_width(size)
    text = code([ids], size)
    suffixes = SuffixArray(text, build(text, width), width)
    assert suffixes.size == 401
    low, high = suffixes.find(suffixes.encode(ids[100:104]))
    assert sorted(suffixes.position(place) for place in range(low, high)) == [100, 200]
    symbols, counts = suffixes.next_symbols(0, suffixes.size, 0)
    expected, times = np.unique(np.append(ids, size), return_counts=True)
    assert symbols.tolist() == expected.tolist()
    assert counts.tolist() == times.tolist()


def saved(folder, text=OPENING):
    model = unbounded(text)
    infinigram.save_symbols(code([model.alphabet.encode(text)], model.alphabet.size), folder)
    return {"alphabet": {"kind": "text", "characters": model.alphabet.characters}}


def test_a_missing_suffix_array_is_derived_once(tmp_path):
    config = saved(tmp_path)
    built = []

    def derive_for_test(name, build):
        def counted(folder):
            built.append(name)
            return build(folder)

        return derive(tmp_path / "cache", "0" * 64, name, counted)

    for _ in range(2):
        model = infinigram.load(config, tmp_path, derive_for_test)
        assert model.count(model.alphabet.encode("the ")) == OPENING.count("the ")
    assert built == ["suffix_array"]


def test_a_stored_suffix_array_is_used(tmp_path):
    config = saved(tmp_path) | {"stored_suffix_array": True}
    text = map_tensor(tmp_path / infinigram.SYMBOLS_FILE, "symbols").values
    infinigram.save_suffix_array(build(text, 1), tmp_path)
    model = infinigram.load(config, tmp_path, no_derived_data)
    assert model.count(model.alphabet.encode("sea")) == OPENING.count("sea")


def test_a_suffix_array_of_another_text_is_refused(tmp_path):
    config = saved(tmp_path) | {"stored_suffix_array": True}
    infinigram.save_suffix_array(np.arange(5, dtype=np.int32), tmp_path)
    with pytest.raises(ValueError, match="5 places"):
        infinigram.load(config, tmp_path, no_derived_data)


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "symbols.safetensors"
    save_file({"other" if damage == "other" else "symbols": np.arange(100, dtype=np.uint8)}, path)
    if damage != "other":
        path.write_bytes(path.read_bytes()[: 120 if damage == "cut" else 0])
    with pytest.raises(ValueError, match=r"symbols\.safetensors"):
        map_tensor(path, "symbols")
