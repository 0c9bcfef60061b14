"""What is done to a platform meanwhile: in the order of time, and told of when it outlasts its phase."""

from __future__ import annotations

import dataclasses

from tests.load.actions import Event
from tests.load.core.outcome import Record
from tests.load.parsing import parse
from tests.load.running import _act, _overdue
from tests.load.scenario import Planned
from tests.unit.load.load_parts import VirtualLoop
from tests.unit.load.test_load_scenarios import GOOD


def test_actions_come_in_the_order_of_time():
    actions = [Planned("two", 1.0, "kill", "gan"), Planned("one", 0.5, "restart", "sampler")]
    scenario = dataclasses.replace(parse("trial", GOOD), actions=actions)
    loop, told = VirtualLoop(), []

    async def deed(process):
        told.append((loop.time(), process))

    try:
        events = loop.run_until_complete(_act(scenario, {"kill": deed, "restart": deed}, Record(loop.time)))
    finally:
        loop.close()
    assert told == [(0.5, "sampler"), (3.0, "gan")]
    assert events == [Event(0.5, "restart sampler", 0.0, "one"), Event(3.0, "kill gan", 0.0, "two")]


def test_one_that_outlasts_its_phase_is_told_of():
    scenario = parse("trial", GOOD)
    assert scenario.spans() == {"one": (0.0, 2.0), "two": (2.0, 6.0), "three": (6.0, 10.0)}
    good, bad = Event(2.5, "restart gan", 3.0, "two"), Event(2.5, "kill sampler", 4.0, "two")
    assert _overdue(scenario, [good]) == []
    assert _overdue(scenario, [good, bad]) == ["kill sampler was over at 6 s, after the phase 'two'"]
