"""Whether a tenant is late in any company: only what was seen with the fewest places counts."""

from __future__ import annotations

import pytest

from gateway.trial import Trial

FEWEST = 4


@pytest.fixture
def trial():
    """Under way from second 10 on, when no more than the fewest were left."""
    made = Trial(FEWEST)
    made.begin()
    leave(made, "other", late=False, entered=0.0, now=10.0)
    return made


def leave(trial, tenant, *, late, entered=11.0, now=12.0, inflight=FEWEST):
    trial.left(tenant, late=late, entered=entered, inflight=inflight, now=now)


def test_who_is_mostly_late_is_excused_for_a_time(trial):
    for number in range(2 * FEWEST):
        assert trial.under_way
        leave(trial, ("always", "never")[number % 2], late=number % 2 == 0)
    assert not trial.under_way
    assert trial.excuses("always", 13.0)
    assert not trial.excuses("never", 13.0)
    assert not trial.excuses("always", 13.0 + 600.0)


def test_calls_that_began_in_larger_company_do_not_count(trial):
    for _ in range(10 * FEWEST):
        leave(trial, "always", late=True, entered=9.0)
    assert trial.under_way
    assert not trial.excuses("always", 13.0)


def test_it_begins_once_no_more_than_the_fewest_are_left():
    trial = Trial(FEWEST)
    trial.begin()
    for _ in range(10 * FEWEST):
        leave(trial, "always", late=True, inflight=FEWEST + 1)
    assert trial.under_way


def test_the_next_trial_starts_anew(trial):
    for _ in range(2 * FEWEST):
        leave(trial, "always", late=True)
    trial.begin()
    leave(trial, "always", late=False, entered=19.0, now=20.0)
    for _ in range(2 * FEWEST):
        leave(trial, "always", late=False, entered=700.0, now=701.0)
    assert not trial.under_way
    assert not trial.excuses("always", 702.0)
