"""Schedules are Poisson, mixed by weight, and a seed's own."""

from __future__ import annotations

import math
import random
import statistics
from itertools import islice, pairwise

import pytest

from tests.load.core.schedule import Arrival, Stretch, arrivals, chosen, poisson


def test_gaps_are_exponential():
    times = list(poisson(50.0, 400.0, random.Random(1)))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == pytest.approx(20_000, abs=4 * math.sqrt(20_000))
    # Of an exponential the deviation is the mean, and 1/e of it lies beyond the mean.
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(0.02, rel=0.03)
    assert sum(gap > 0.02 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.015)


def test_counts_of_seconds_vary_as_much_as_their_mean():
    times = poisson(30.0, 2000.0, random.Random(2))
    counts = [0] * 2000
    for at in times:
        counts[int(at)] += 1
    assert statistics.variance(counts) / statistics.mean(counts) == pytest.approx(1.0, abs=0.15)


def test_a_seed_is_a_schedule():
    stretches, mix = [Stretch(20, 5), Stretch(100, 1)], {"a": 1.0, "b": 3.0}
    first = list(arrivals(stretches, mix, seed=7))
    assert first == list(arrivals(stretches, mix, seed=7))
    assert first != list(arrivals(stretches, mix, seed=8))
    assert all(isinstance(each, Arrival) for each in first)


def test_stretches_follow_each_other():
    times = [each.at for each in arrivals([Stretch(10, 10), Stretch(0, 5), Stretch(100, 10)], {"a": 1}, 3)]
    assert times == sorted(times)
    before, idle, after = (sum(lo <= at < hi for at in times) for lo, hi in ((0, 10), (10, 15), (15, 25)))
    assert before == pytest.approx(100, abs=40)
    assert idle == 0
    assert after == pytest.approx(1000, abs=130)


def test_more_load_of_a_name_leaves_the_times_alone():
    one = [each.at for each in arrivals([Stretch(20, 5)], {"a": 1, "b": 1}, 7)]
    other = [each.at for each in arrivals([Stretch(20, 5)], {"a": 1, "b": 9}, 7)]
    assert one == other


def test_names_come_by_weight():
    names = list(islice(chosen({"a": 1, "b": 3, "never": 0}, random.Random(4)), 4000))
    assert names.count("b") / len(names) == pytest.approx(0.75, abs=0.03)
    assert "never" not in names


@pytest.mark.parametrize("mix", [{}, {"a": 0}, {"a": -1, "b": 2}])
def test_a_mix_without_weight_is_refused(mix):
    with pytest.raises(ValueError, match="weights"):
        next(chosen(mix, random.Random(1)))
