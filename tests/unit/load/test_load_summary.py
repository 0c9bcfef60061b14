"""Counts and percentiles, exact."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.core.outcome import Kind, Outcome, Verdict
from tests.load.core.summary import Percentiles, between, by_time, percentile, summary


def outcome(due=0.0, took=0.1, kind=Kind.OK, **verdict):
    return Outcome("a", "", due, due, due + took, Verdict(kind, **verdict))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0.001, 1.0))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_percentiles_of_nothing_are_no_numbers():
    assert math.isnan(percentile([], 0.5))
    assert Percentiles.of([]).count == 0


def test_a_summary_counts_all_and_times_those_that_were_answered_or_late():
    outcomes = [
        *[outcome(took=0.1) for _ in range(8)],
        outcome(took=5.0, kind=Kind.LATE, code="DEADLINE_EXCEEDED"),
        outcome(took=0.001, kind=Kind.REFUSED, code="UNAVAILABLE", reason="OVERLOADED", retry_after=1.0),
        outcome(took=0.001, kind=Kind.REFUSED, code="UNAVAILABLE", reason="OVERLOADED"),
        outcome(took=0.001, kind=Kind.FAILED, code="INTERNAL"),
    ]
    found = summary(outcomes, 4.0)
    assert found.asked == 12
    assert (found.rate, found.goodput) == (3.0, 2.0)
    assert found.kinds == {"ok": 8, "refused": 2, "failed": 1, "late": 1}
    assert found.codes == {"UNAVAILABLE OVERLOADED": 2, "DEADLINE_EXCEEDED": 1, "INTERNAL": 1}
    assert found.latency.count == 9
    assert (found.latency.p50, found.latency.most) == (pytest.approx(0.1), pytest.approx(5.0))
    assert found.hints_missing == 1
    assert found.as_dict()["goodput"] == 2.0


def test_seconds_without_calls_are_there_too():
    rows = by_time([outcome(due=0.5), outcome(due=2.9, took=1.3), outcome(due=2.1, kind=Kind.FAILED)])
    assert [row.asked for row in rows] == [1, 0, 2, 0, 0]
    assert [row.done for row in rows] == [1, 0, 0, 0, 1]
    assert rows[2].kinds == {"ok": 1, "failed": 1}
    assert math.isnan(rows[1].p99)
    assert by_time([]) == []


def test_a_phase_has_the_calls_that_were_due_in_it():
    outcomes = [outcome(due=1.0), outcome(due=2.0, took=9.0), outcome(due=3.0)]
    assert [each.due for each in between(outcomes, 2.0, 3.0)] == [2.0]
