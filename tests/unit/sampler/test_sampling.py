"""Sampling: each filter by hand, their order, and random numbers that depend on nothing but their place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.sampler.sampling import History, Sampling, candidates, keep_top_p, tempered, uniforms

IDS = np.arange(5)
PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.4, 0.05])
LOGITS = np.log(PROBABILITIES)


def kept(sampling, history=None, logits=LOGITS):
    found = candidates(IDS[: logits.size], logits, sampling, history)
    return dict(zip(found.ids.tolist(), found.probabilities.tolist(), strict=True))


def test_by_default_nothing_changes():
    assert kept(Sampling()) == pytest.approx(dict(enumerate(PROBABILITIES)))


def test_greedy_takes_the_likeliest_and_of_equals_the_lowest_id():
    assert kept(Sampling(temperature=0)) == {1: 1.0}


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature):
    weights = PROBABILITIES ** (1 / temperature)
    assert kept(Sampling(temperature=temperature)) == pytest.approx(dict(enumerate(weights / weights.sum())))


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_the_smallest_temperatures_are_greedy_over_equals(temperature):
    assert kept(Sampling(temperature=temperature)) == {1: 0.5, 3: 0.5}


def test_top_k_keeps_the_lowest_of_equals():
    assert kept(Sampling(top_k=1)) == {1: 1.0}
    assert kept(Sampling(top_k=4)).keys() == {0, 1, 2, 3}
    assert kept(Sampling(top_k=99)).keys() == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("p", "ids"), [(0.01, {1}), (0.4, {1}), (0.41, {1, 3}), (0.85, {0, 1, 3}), (1.0, {0, 1, 2, 3, 4})]
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(p, ids):
    assert kept(Sampling(top_p=p)).keys() == ids


def test_top_p_next_to_one_survives_rounding():
    probabilities = np.full(7, 1 / 7)
    assert (keep_top_p(probabilities, np.nextafter(1.0, 0)) > 0).sum() >= 6


def test_min_p_is_a_share_of_the_likeliest():
    assert kept(Sampling(min_p=0.2)).keys() == {0, 1, 3}
    assert kept(Sampling(min_p=0.26)).keys() == {1, 3}


def test_a_bias_is_added_before_the_temperature():
    assert kept(Sampling(logit_bias=((2, 100.0),), temperature=0)) == {2: 1.0}
    halved = kept(Sampling(logit_bias=((1, -np.log(2.0)),)))
    assert halved[1] == pytest.approx(halved[3] / 2)


def test_a_bias_on_an_impossible_symbol_does_nothing():
    found = candidates(np.array([2, 5]), np.log([0.5, 0.5]), Sampling(logit_bias=((3, 100.0),)))
    assert found.ids.tolist() == [2, 5]


def test_filters_come_after_temperature():
    hot = Sampling(temperature=100, min_p=0.9)
    assert kept(hot).keys() == {0, 1, 2, 3, 4}  # at this temperature all are about as likely


def history(prompt, produced):
    result = History(5, np.array(prompt, np.int64))
    for symbol in produced:
        result.add(symbol)
    return result


def test_presence_and_frequency_count_the_output_alone():
    before = history([0, 0], [1, 1, 3])
    presence = kept(Sampling(presence_penalty=1.0), before)
    assert presence[1] / presence[0] == pytest.approx(4 * np.exp(-1))
    frequency = kept(Sampling(frequency_penalty=1.0), before)
    assert frequency[1] / frequency[0] == pytest.approx(4 * np.exp(-2))
    assert frequency[3] / frequency[0] == pytest.approx(4 * np.exp(-1))


def test_repetition_counts_prompt_and_output_and_knows_signs():
    logits = np.array([2.0, -2.0, 2.0, -2.0, 0.0])
    found = kept(Sampling(repetition_penalty=2.0), history([0, -1], [1]), logits)
    expected = np.exp([1.0, -4.0, 2.0, -2.0, 0.0])
    assert found == pytest.approx(dict(enumerate(expected / expected.sum())))


@given(
    hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-700, 0)),
    st.floats(0, 100),
    st.integers(0, 25),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1, exclude_max=True),
)
def test_something_is_always_left_and_sums_to_one(logits, temperature, top_k, top_p, min_p):
    found = candidates(np.arange(logits.size), logits, Sampling(temperature, top_k, top_p, min_p))
    assert found.ids.size >= 1
    assert (found.probabilities > 0).all()
    assert found.probabilities.sum() == pytest.approx(1.0)
    assert (np.diff(found.ids) > 0).all()
    assert found.cumulative()[-1] == 1.0
    assert tempered(logits, temperature).argmax() in found.ids or top_k or top_p < 1


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 31),
    st.integers(0, 1000),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_uniforms_do_not_depend_on_how_they_are_cut(seed, sequence, start, first, second):
    together = uniforms(seed, sequence, start, first + second)
    assert (
        uniforms(seed, sequence, start, first) + uniforms(seed, sequence, start + first, second) == together
    )
    assert all(0 <= number < 1 for number in together)


def test_streams_differ_by_seed_and_sequence():
    assert len({tuple(uniforms(*key, 0, 8)) for key in [(1, 0), (1, 1), (2, 0), (0, 1)]}) == 4


def test_the_stream_is_the_published_generator():
    """Golden values: a change here changes every seeded text."""
    assert uniforms(7, 0, 0, 3) == [0.8720734548204873, 0.29536538151378355, 0.4200976785072422]
    numbers = np.array(uniforms(1, 0, 0, 100_000))
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.var() - 1 / 12) < 0.002
