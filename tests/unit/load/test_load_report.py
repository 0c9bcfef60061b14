"""The report: stands alone, tells of every rule and fault, and shows what callers wrote as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import psutil
import pytest

from tests.load.actions import Event
from tests.load.core.outcome import Kind, Outcome, Verdict
from tests.load.parsing import parse
from tests.load.report.console import told
from tests.load.report.html import number, page
from tests.load.report.svg import lines
from tests.load.result import Machine, Result
from tests.load.watching.freeing import Freed
from tests.load.watching.samples import Sample, Watched
from tests.unit.load.test_load_scenarios import GOOD

VOID = {"meta", "i", "link", "br"}


def outcome(at, kind=Kind.OK, took=0.1, call="story", **verdict):
    return Outcome(call, "quick", at, at, at + took, Verdict(kind, **verdict), at + 0.01, (0.02, 0.03), 4)


@pytest.fixture
def result():
    samples = [Sample(float(at), 0.5 * at, 100.0 + at, 3.0, 1.0) for at in range(10)]
    outcomes = [outcome(0.1 * number) for number in range(90)]
    outcomes.append(outcome(5.0, Kind.FAILED, code="INTERNAL", detail="<script>alert(1)</script>"))
    outcomes.append(outcome(6.0, Kind.REFUSED, code="UNAVAILABLE", reason="OVERLOADED"))
    made = Result(
        scenario=parse(
            "trial", {**GOOD, "rules": ["failed = 0", "ok >= 80", "hints_missing = 1", "recovery < 9"]}
        ),
        outcomes=outcomes,
        spans={"one": (0.0, 2.0), "two": (2.0, 6.0), "three": (6.0, 10.0)},
        watched={"sampler": Watched(psutil.Process, "", samples), "gan": Watched(psutil.Process, "")},
        machine=Machine(2, 0.5, "3.11", "today"),
        peak=20.0,
        events=[Event(3.5, "restart sampler", 4.0)],
        freed=[Freed("sampler", "cancel", 0.05, 0.01, 0.0)],
        running_at_end=0.0,
    )
    made.held = [rule.judge(made.look) for rule in made.scenario.rules]
    return made


class Checker(HTMLParser):
    """Counts what is open, keeps what is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.fetched = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            while self.open.pop() != tag:
                pass


def test_the_page_stands_alone_and_is_whole(result):
    text = page(result)
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert checker.fetched == []
    assert "script" not in checker.tags
    assert "&lt;script&gt;alert(1)" in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert "nan" not in drawing
        ElementTree.fromstring(drawing)
    for word in ("failed = 0", "broken", "holds", "restart sampler", "not passed", "two"):
        assert word in text


def test_figures_are_those_of_the_outcomes(result):
    assert [each.held for each in result.held] == [False, True, True, True]
    assert not result.passed
    whole = result.summary()
    assert (whole.count(Kind.OK), whole.count(Kind.FAILED), whole.asked) == (90, 1, 92)
    assert result.summary("quick", "one").asked == 20
    assert result.summary("tokens").asked == 0
    assert result.cpu_per_call("sampler") == pytest.approx(1e6 * 4.5 / 92)
    assert result.cpu_per_call("gan") is None


def test_an_invalid_run_has_not_passed(result):
    result.held = []
    assert result.passed
    result.faults = ["calls began 90 ms late (p99, allowed 50)"]
    assert not result.passed
    assert "Invalid" in page(result)
    assert "INVALID  calls began 90 ms late" in told(result)


def test_the_json_holds_no_nan(result):
    text = json.dumps(result.as_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["passed"] is False
    assert found["all"]["kinds"] == {"ok": 90, "refused": 1, "failed": 1}
    assert found["calls"]["tokens"]["latency"]["p99"] is None
    assert len(found["seconds"]) == 10


def test_the_console_has_a_line_for_each_rule(result):
    text = told(result)
    assert re.search(r"^BROKEN +failed = 0 +\(1\.00, limit 0\.00\)$", text, re.MULTILINE)
    assert re.search(r"^holds +ok >= 80", text, re.MULTILINE)
    assert "sampler, cancel: work stopped after 50 ms, a step takes 10.0 ms" in text


def test_a_line_breaks_where_there_is_no_number():
    drawn = lines(
        "t",
        {"a": [(0, 1.0), (1, 2.0), (2, float("nan")), (3, 1.0), (4, 1.0), (5, float("nan")), (6, 2)]},
        7,
        [],
    )
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == 1
    assert lines("t", {}, 0, [], log=True).count("<svg") == 1


def test_numbers_are_shown_for_people():
    assert number(None) == number(float("nan")) == "-"
    assert number(12345.678) == "12,345.7"
