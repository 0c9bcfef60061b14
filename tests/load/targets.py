"""The platforms that scenarios run against: one of our own, or one that is running somewhere."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from services.common.catalogue import SERVICES
from tests.bench.gateway.keys import make_keys
from tests.e2e.conftest import Platform, started
from tests.load.actions import actions_on, module_of
from tests.load.calls.doors import Address
from tests.load.parsing import ScenarioError
from tests.load.running import Target
from tests.load.scenario import Scenario
from tests.load.watching.samples import Watched

Keys = Mapping[str, str | None]
"""Of each group."""


@contextlib.contextmanager
def started_for(scenario: Scenario) -> Iterator[Target]:
    """A platform that is started for a scenario on free ports, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pequod-load-") as folder:
        keys, variables = _keys(scenario, Path(folder))
        with started(Path(folder), **variables) as platform:
            yield own(scenario, platform, keys)


def own(scenario: Scenario, platform: Platform, keys: Keys) -> Target:
    """A platform whose processes can be seen and ended."""
    pages = {"gateway": f"{platform.admin}/metrics"}
    for service in SERVICES:
        port = platform.environment[f"PEQUOD_{service.name.upper()}_SIDE_PORT"]
        pages[service.name] = f"http://127.0.0.1:{port}/metrics"
    return Target(
        {group: Address(platform.grpc, platform.http, keys[group]) for group in scenario.groups},
        {name: Watched(partial(platform.child, module_of(name)), url) for name, url in pages.items()},
        actions_on(platform),
    )


def running(scenario: Scenario, target: str, http: str | None) -> Target:
    """Somebody's platform: only its doors. Raises ScenarioError where that is not enough."""
    if scenario.actions or scenario.measure_freeing:
        raise ScenarioError(f"{scenario.name} looks at processes, so it needs a platform of its own")
    groups = list(scenario.groups)
    keys = [key for key in os.environ.get("PEQUOD_API_KEY", "").split(",") if key]
    if scenario.keyed and len(keys) != len(groups):
        wanted = "PEQUOD_API_KEY=KEY,KEY in this order"
        raise ScenarioError(f"{scenario.name} needs a key for each of {', '.join(groups)}: {wanted}")
    shown = keys if scenario.keyed else [keys[0] if keys else None] * len(groups)
    door = http or f"http://{target.rpartition(':')[0]}:8080"
    return Target({group: Address(target, door, key) for group, key in zip(groups, shown, strict=True)})


def _keys(scenario: Scenario, folder: Path) -> tuple[Keys, Mapping[str, str]]:
    """The key of each group, and the settings of a platform that knows them."""
    groups = list(scenario.groups)
    if not scenario.keyed:
        return dict.fromkeys(groups), scenario.environment
    made = make_keys(folder, len(groups))
    return dict(zip(groups, made.texts, strict=True)), {**made.environment, **scenario.environment}
