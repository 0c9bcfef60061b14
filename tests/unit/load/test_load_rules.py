"""Rules: read as sentences, judged by figures, refused where they say nothing."""

from __future__ import annotations

import math

import pytest

from tests.load.result import _OF_CALLS, _OF_RUN, _OF_SAMPLES
from tests.load.rules import FIGURES, OF_PROCESSES, Figure, read_rule


def judged(text, **figures):
    """What becomes of ``text`` where figures are as given, by their words with underscores."""
    return read_rule(text).judge(lambda figure: figures[str(figure).replace(" ", "_").replace("-", "_")])


def test_a_rule_is_read_to_its_last_word():
    rule = read_rule("p99 of quiet in beside <= 1.5 x p99 of quiet in alone")
    assert rule.figure == Figure("p99", "quiet", "beside")
    assert (rule.compare, rule.factor, rule.times) == ("<=", 1.5, Figure("p99", "quiet", "alone"))
    plain = read_rule("queue_depth of gateway <= 512")
    assert (plain.figure.of_process, plain.times, plain.factor) == (True, None, 512)
    assert read_rule("goodput in over >= peak").times == Figure("peak")


@pytest.mark.parametrize(
    ("text", "figures", "held"),
    [
        ("failed = 0", {"failed": 0}, True),
        ("failed = 0", {"failed": 1}, False),
        ("goodput in over >= 0.9 x peak", {"goodput_in_over": 9.0, "peak": 10.0}, True),
        ("goodput in over >= 0.9 x peak", {"goodput_in_over": 8.9, "peak": 10.0}, False),
        ("memory_slope of gan < 1", {"memory_slope_of_gan": 1.0}, False),
        ("p99 <= 100", {"p99": math.nan}, False),
        ("p99 <= 2 x p99 in calm", {"p99": 5.0, "p99_in_calm": math.nan}, False),
        ("queue_depth of gateway <= 5", {"queue_depth_of_gateway": None}, None),
    ],
)
def test_a_rule_is_judged_by_its_figures(text, figures, held):
    assert judged(text, **figures).held is held


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("failed", "no rule"),
        ("failed = ", "no rule"),
        ("failed == 0", "no rule"),
        ("failed = zero bananas", "no rule"),
        ("speed > 3", "no figure 'speed'; figures: ok, "),
        ("p99 <= 2 x speed", "no figure 'speed'"),
        (7, "no rule"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_could_be(text, told):
    with pytest.raises(ValueError, match=told):
        read_rule(text)


def test_every_figure_is_found_somewhere():
    assert set(FIGURES) == {*_OF_CALLS, *_OF_RUN, *_OF_SAMPLES}
    assert set(_OF_SAMPLES) == OF_PROCESSES
