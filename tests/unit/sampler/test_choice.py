"""Choosing from logits is ``sampling.candidates`` over fewer candidates: the same ids, the same odds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sampler.sampling import History, Sampling, candidates
from services.sampler.transformer.choice import choose, likeliest, log_sums

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 7, 400, 2000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.02, 0.5]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    logit_bias=st.sampled_from([(), ((3, 5.0), (900, -100.0))]),
)


@given(SAMPLINGS, st.integers(0, 2**31), st.floats(0, 1, exclude_max=True))
def test_the_token_is_the_one_that_all_candidates_give(sampling, seed, number):
    chance = np.random.default_rng(seed)
    logits = (3 * chance.standard_normal(1000)).astype(np.float32)
    logits[chance.integers(1000, size=50)] = -np.inf
    history = None
    if sampling.looks_back:
        history = History(1000, chance.integers(1000, size=20))
        history.add(5)
    with np.errstate(invalid="ignore"):
        kept = candidates(np.arange(1000), logits.astype(np.float64), sampling, history)
    token = choose(logits, sampling, history, number)
    assert token in kept.ids
    sums = np.cumsum(kept.probabilities)
    place = int(np.searchsorted(kept.ids, token))
    low, high = (sums[place - 1] if place else 0.0), sums[place]
    # In 32 bits the edges between tokens lie a little elsewhere.
    assert low - 1e-5 <= number <= high + 1e-5


def test_every_token_is_drawn_as_often_as_its_probability_says():
    logits = np.array([1.0, 0.0, -np.inf, 2.0, -1.0], np.float32)
    numbers = np.random.default_rng(0).random(20_000)
    drawn = np.bincount([choose(logits, Sampling(), None, number) for number in numbers], minlength=5)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(drawn / 20_000, expected, atol=0.012)


def test_among_equals_the_lowest_ids_are_likeliest():
    logits = np.array([1.0, 3.0, 3.0, 3.0, 0.0], np.float32)
    assert likeliest(logits, 2).tolist() == [1, 2]
    assert likeliest(logits, 4).tolist() == [0, 1, 2, 3]
    assert likeliest(logits, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_a_rows_log_sum_knows_no_neighbours(rows):
    logits = np.random.default_rng(1).standard_normal((40, 5000)).astype(np.float32) * 5
    assert log_sums(logits[:rows]).tolist() == log_sums(logits)[:rows].tolist()
    exact = np.log(np.exp(logits[0].astype(np.float64)).sum())
    assert log_sums(logits[:1])[0] == pytest.approx(exact, abs=1e-5)
