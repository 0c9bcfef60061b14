"""Scenario files: those of the project can be read, and a name too many is told of with the known ones."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from tests.load.calls.reading import Reading
from tests.load.calls.text import Text
from tests.load.parsing import ScenarioError, load_scenario, names, parse
from tests.load.scenario import Load

GOOD = {
    "about": "A trial.",
    "rules": ["failed = 0", "p99 of quick in one <= 2 x p99 of story"],
    "calls": {
        "story": {"kind": "text", "stream": True, "tokens": 4, "reading": {"pause": 0.5}},
        "tokens": {},
    },
    "groups": {"quick": {"mix": {"story": 1, "tokens": 2}}},
    "capacity": {"group": "quick", "callers": [1, 2], "seconds": 1},
    "phases": [
        {"name": "one", "seconds": 2, "load": {"quick": "5 /s"}},
        {"name": "two", "seconds": 4, "load": {"quick": "0.5 of capacity"}},
        {"name": "three", "seconds": 4, "load": {"quick": "3 callers"}},
    ],
    "actions": [{"phase": "two", "at": 1.5, "do": "restart", "process": "sampler"}],
}


def changed(path, value):
    """GOOD with ``value`` at ``path``; None takes it away."""
    given = copy.deepcopy(GOOD)
    place = given
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return given


def test_a_file_becomes_a_scenario():
    scenario = parse("trial", GOOD)
    assert scenario.calls["story"] == Text(stream=True, tokens=4, reading=Reading(pause=0.5))
    loads = [phase.load["quick"] for phase in scenario.phases]
    assert loads == [Load(rate=5), Load(share=0.5), Load(callers=3)]
    assert [rule.text for rule in scenario.rules] == GOOD["rules"]
    longer = scenario.scaled(3)
    assert [phase.seconds for phase in longer.phases] == [6, 12, 12]
    assert (longer.actions[0].at, longer.capacity.seconds) == (4.5, 3)
    assert dataclasses.replace(longer, phases=(), actions=(), capacity=None) == dataclasses.replace(
        scenario, phases=(), actions=(), capacity=None
    )


@pytest.mark.parametrize("name", names())
def test_those_of_the_project_can_be_read(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.about.endswith(".")
    assert {"wrong = 0"} <= {rule.text for rule in scenario.rules}


def test_the_scenarios_that_teams_ask_for_are_there():
    wanted = (
        "steady burst mixed slow-readers cancel-storm tenant-flood overload soak rolling-restart backend-kill"
    )
    assert set(wanted.split()) <= set(names())


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["color"], "red", "no field 'color'"),
        (["calls"], None, r"has no \[calls"),
        (["calls", "story", "kind"], "poem", "no kind 'poem'; kinds: text, "),
        (["calls", "story", "speed"], 3, "calls.story: no field 'speed'; there are door, "),
        (["calls", "story", "tokens"], "many", "calls.story.tokens: is 'many', int is expected"),
        (["calls", "story", "stream"], 1, "bool is expected"),
        (["calls", "story", "door"], "back", "no 'back' here; doors: grpc, json, openai"),
        (["calls", "story", "reading"], {"aloud": True}, "calls.story.reading: no field 'aloud'"),
        (["calls", "story", "stream"], False, "calls.story: reading: only streams by gRPC"),
        (["calls", "story"], {"kind": "embed", "stream": True, "door": "json"}, "stream: only by gRPC"),
        (["calls", "story"], {"kind": "face", "frames": 3, "door": "json"}, "frames: only by gRPC"),
        (["calls", "story"], {"kind": "face", "reading": {"pause": 1}}, "reading: only streams"),
        (["groups", "quick", "mix"], {"song": 1}, "groups.quick.mix: no call 'song'"),
        (["groups", "quick", "mix"], {"story": 0}, "weights"),
        (["groups", "quick", "mix"], {"story": "x"}, "groups.quick.mix.story: is 'x', int or float"),
        (["calls", "story", "kind"], ["text"], "no kind"),
        (["calls", "story"], "text", "calls.story: is 'text', a table is expected"),
        (["phases"], {"name": "one"}, r"phases: tables \[\[phases\]\] are expected"),
        (["actions"], [7], r"actions: tables \[\[actions\]\] are expected"),
        (["rules"], "failed = 0", "rules: is 'failed = 0', list is expected"),
        (["capacity", "callers"], [], "numbers from 1 on are expected"),
        (["phases"], [], r"has no \[\[phases\]\]"),
        (["phases", 0, "seconds"], None, "lacks seconds"),
        (["phases", 0, "seconds"], 0, "above 0"),
        (["phases", 1, "name"], "one", "two phases are called 'one'"),
        (["phases", 0, "load"], {"slow": "1 /s"}, "phases.one.load: no group 'slow'"),
        (["phases", 0, "load"], {"quick": "fast"}, "it is like '20 /s'"),
        (["phases", 0, "load"], {"quick": 20}, "it is like '20 /s'"),
        (["capacity"], None, "is a share of the capacity"),
        (["capacity", "callers"], 4, "capacity.callers: is 4, list is expected"),
        (["capacity", "callers"], ["many"], "capacity.callers: is 'many', int is expected"),
        (["capacity", "group"], "slow", "capacity.group: no group 'slow'"),
        (["actions", 0, "do"], "paint", "no deed 'paint'; there are kill, restart"),
        (["actions", 0, "process"], "browser", "no process 'browser'"),
        (["actions", 0, "phase"], "never", "no phase 'never'"),
        (["rules"], ["failed of nobody = 0"], "no group or call 'nobody'"),
        (["rules"], ["failed in never = 0"], "no phase 'never'"),
        (["rules"], ["queue_depth of browser <= 3"], "no process 'browser'"),
        (["rules"], ["speed = 0"], "no figure 'speed'"),
        (["seed"], "seven", "seed: is 'seven', int is expected"),
        (["environment"], {"PEQUOD_LOG_LEVEL": 3}, "environment.PEQUOD_LOG_LEVEL: is 3, str is expected"),
    ],
)
def test_what_cannot_be_is_told_of(path, value, told):
    with pytest.raises(ScenarioError, match=told):
        parse("trial", changed(path, value))


def test_a_peak_needs_a_capacity():
    given = {key: value for key, value in GOOD.items() if key != "capacity"}
    given = {**given, "phases": GOOD["phases"][:1], "actions": [], "rules": ["goodput >= 0.9 x peak"]}
    with pytest.raises(ScenarioError, match=r"needs \[capacity\]"):
        parse("trial", given)


def test_a_file_that_is_not_there_or_no_toml(tmp_path):
    with pytest.raises(ScenarioError, match="no scenario 'storm'; there are backend-kill, "):
        load_scenario("storm")
    path = tmp_path / "mine.toml"
    path.write_text("about = ")
    with pytest.raises(ScenarioError, match=r"mine\.toml: Invalid value"):
        load_scenario(str(path))
    path.write_text("about = 'x'\ncolor = 1")
    with pytest.raises(ScenarioError, match=r"mine\.toml: scenario: no field 'color'"):
        load_scenario(str(path))
