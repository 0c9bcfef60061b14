"""The load harness against the real platform: every door and modality, the project's scenarios in short."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tomllib

import pytest

from tests.load.__main__ import main
from tests.load.actions import DEEDS
from tests.load.core.outcome import Kind
from tests.load.parsing import names, parse
from tests.load.report.html import page
from tests.load.running import run
from tests.load.scenario import UnusableError
from tests.load.targets import own

SHORT = """
about = "All doors, for some seconds."
allowed_lag = 60
rules = [
  "failed = 0",
  "wrong = 0",
  "refused = 0",
  "running_at_end = 0",
  "ok of callers >= 10",
  "cancelled of leavers >= 1",
]

[calls.story]
kind = "text"
stream = true
tokens = 8

[calls.story-json]
kind = "text"
door = "json"
stream = true
model = "moby-ngram"
prompt = "THE "
order = 3
tokens = 8

[calls.story-openai]
kind = "text"
door = "openai"
stream = true
tokens = 8

[calls.vectors]
kind = "embed"
texts = 1

[calls.bulk]
kind = "embed"
stream = true
texts = 3

[calls.tokens]
door = "openai"

[calls.picture]
kind = "image"
steps = 2

[calls.face]
door = "json"

[calls.walk-left]
kind = "face"
frames = 600
reading = { leave_after = 0.1 }

[groups.callers]
mix.story = 1
mix.story-json = 1
mix.story-openai = 1
mix.vectors = 1
mix.bulk = 1
mix.tokens = 1
mix.picture = 1
mix.face = 1

[groups.leavers]
mix = { walk-left = 1 }

[capacity]
group = "callers"
callers = [1, 2]
seconds = 0.5

[[phases]]
name = "open"
seconds = 2
load = { callers = "8 /s", leavers = "1 callers" }

[[phases]]
name = "closed"
seconds = 1
load = { callers = "2 callers" }

[[actions]]
phase = "closed"
at = 0.2
do = "restart"
process = "gan"

[[actions]]
phase = "open"
at = 0.5
do = "kill"
process = "sampler"
"""
COUNTED = ("wrong", "failed", "failed_other", "hints_missing", "running_at_end")
"""Rules that hold on however busy a machine; the others are of times."""


def ran(platform, text, told=None):
    """The result of a scenario on a platform without keys; what is to be done to it is only ``told``."""

    def deed(name):
        async def action(process):
            told.append((name, process))

        return action

    scenario = parse("short", tomllib.loads(text))
    target = own(scenario, platform, dict.fromkeys(scenario.groups))
    target = dataclasses.replace(target, actions={name: deed(name) for name in DEEDS})
    return asyncio.run(run(scenario, target))


def test_a_short_scenario_through_every_door(platform):
    told = []
    result = ran(platform, SHORT, told)
    assert told == [("kill", "sampler"), ("restart", "gan")]
    assert [event.what for event in result.events] == ["kill sampler", "restart gan"]
    assert [event.at >= at for event, at in zip(result.events, (0.5, 2.2), strict=True)] == [True, True]
    assert {each.rule: each.held for each in result.held if not each.held} == {}
    assert result.faults == []
    assert {outcome.call for outcome in result.outcomes} == set(result.scenario.calls)
    streamed = [o for o in result.outcomes if o.call == "story" and o.kind is Kind.OK]
    assert all(o.first is not None and o.tokens == 8 for o in streamed)
    assert result.peak > 0
    assert {name for name, each in result.watched.items() if each.samples} == set(result.watched)
    assert result.cpu_per_call("gateway") > 0
    assert "passed" in page(result)


def test_a_platform_that_cannot_do_what_is_asked_is_told_of(platform):
    unknown = SHORT.replace('kind = "text"\nstream = true', 'kind = "text"\nmodel = "nobodys"', 1)
    with pytest.raises(UnusableError, match=r"story of callers, made alone: .*NOT_FOUND"):
        ran(platform, unknown)


def test_a_scenario_that_is_none_ends_with_a_sentence(capsys):
    assert main(["storm"]) == 2
    assert "no scenario 'storm'; there are backend-kill, " in capsys.readouterr().err
    assert main(["rolling-restart", "--target", "127.0.0.1:1"]) == 2
    assert "needs a platform of its own" in capsys.readouterr().err


def test_a_running_platform_is_called_through_its_doors(platform, tmp_path, capsys):
    file = tmp_path / "mine.toml"
    calls_only = SHORT.partition("[[actions]]")[0]
    file.write_text(calls_only.replace("seconds = 2", "seconds = 1"))
    assert main([str(file), "--target", platform.grpc, "--http", platform.http, "--out", str(tmp_path)]) == 0
    assert "-        running_at_end = 0" in capsys.readouterr().out
    assert json.loads((tmp_path / "mine.json").read_text())["all"]["kinds"]["ok"] > 0
    file.write_text(calls_only.replace('"failed = 0"', '"ok = 0"'))
    assert main([str(file), "--target", platform.grpc, "--http", platform.http, "--out", str(tmp_path)]) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", names())
def test_the_projects_scenarios_in_short(name, tmp_path):
    scale = {"soak": "0.02", "rolling-restart": "1", "backend-kill": "1"}.get(name, "0.3")
    assert main([name, "--scale", scale, "--out", str(tmp_path)]) in (0, 1)
    found = json.loads((tmp_path / f"{name}.json").read_text())
    counted = {each["rule"]: each for each in found["rules"] if each["rule"].split()[0] in COUNTED}
    assert counted
    assert {rule: each["found"] for rule, each in counted.items() if not each["held"]} == {}
