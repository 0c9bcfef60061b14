"""``python -m tests.load SCENARIO`` (``make load SCENARIO=…``): run a scenario, print it, write its report.

Without a target it starts a platform of its own on free ports, in a folder that is gone afterwards. The exit
code is 1 where a rule is broken or the run invalid, 2 where it could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from services.common.catalogue import SERVICES
from tests.bench.gateway.keys import make_keys
from tests.e2e.conftest import Platform, started
from tests.load.actions import actions_on, module_of
from tests.load.calls.doors import Address
from tests.load.parsing import ScenarioError, load_scenario, names
from tests.load.report.console import told
from tests.load.report.html import page
from tests.load.result import Result
from tests.load.running import Target, UnusableError, run
from tests.load.scenario import Scenario
from tests.load.watching.samples import Watched


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    options = _parsed(arguments)
    try:
        scenario = load_scenario(options.scenario).scaled(options.scale)
        with _target(scenario, options) as target:
            result = asyncio.run(run(scenario, target))
    except (ScenarioError, UnusableError, pytest.fail.Exception) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _written(result, options.out)
    return 0 if result.passed else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Run a load scenario.")
    parser.add_argument("scenario", help=f"{', '.join(names())}, or a path to a .toml file")
    parser.add_argument(
        "--target", help="host:port of a running platform's gRPC door; keys from PEQUOD_API_KEY"
    )
    parser.add_argument("--http", help="its HTTP door; default: port 8080 of the target's host")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how many times as long as the scenario says"
    )
    parser.add_argument("--out", type=Path, default=Path("var/load"), help="folder of reports")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _target(scenario: Scenario, options: argparse.Namespace) -> Iterator[Target]:
    if options.target:
        yield _running(scenario, options.target, options.http)
        return
    with tempfile.TemporaryDirectory(prefix="pequod-load-") as folder:
        keys, variables = _keys(scenario, Path(folder))
        with started(Path(folder), **variables) as platform:
            yield _own(scenario, platform, keys)


def _keys(scenario: Scenario, folder: Path) -> tuple[Mapping[str, str | None], Mapping[str, str]]:
    """The key of each group, and the settings of a platform that knows them."""
    groups, variables = list(scenario.groups), {str(k): str(v) for k, v in scenario.environment.items()}
    if not scenario.keyed:
        return dict.fromkeys(groups), variables
    made = make_keys(folder, len(groups))
    return dict(zip(groups, made.texts, strict=True)), {**made.environment, **variables}


def _own(scenario: Scenario, platform: Platform, keys: Mapping[str, str | None]) -> Target:
    """A platform that was started for this run."""
    pages = {"gateway": f"{platform.admin}/metrics"}
    for service in SERVICES:
        port = platform.environment[f"PEQUOD_{service.name.upper()}_SIDE_PORT"]
        pages[service.name] = f"http://127.0.0.1:{port}/metrics"
    return Target(
        {group: Address(platform.grpc, platform.http, keys[group]) for group in scenario.groups},
        {name: Watched(lambda n=name: platform.child(module_of(n)), url) for name, url in pages.items()},  # type: ignore[misc]
        actions_on(platform),
    )


def _running(scenario: Scenario, target: str, http: str | None) -> Target:
    """A platform that is somebody's: only its doors. Raises ScenarioError where that is not enough."""
    if scenario.actions or scenario.measure_freeing:
        raise ScenarioError(f"{scenario.name} acts on processes, so it needs a platform of its own")
    keys = [key for key in os.environ.get("PEQUOD_API_KEY", "").split(",") if key]
    if scenario.keyed and len(keys) != len(scenario.groups):
        raise ScenarioError(
            f"{scenario.name} needs a key for each of {', '.join(scenario.groups)}: "
            "PEQUOD_API_KEY=key,key in this order"
        )
    door = http or f"http://{target.rpartition(':')[0]}:8080"
    each = keys if scenario.keyed else [keys[0] if keys else None] * len(scenario.groups)
    return Target({g: Address(target, door, key) for g, key in zip(scenario.groups, each, strict=True)})


def _written(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{result.scenario.name}.html"
    report.write_text(page(result))
    report.with_suffix(".json").write_text(json.dumps(result.as_dict(), indent=1))
    sys.stdout.write(f"{told(result)}\n{report} and .json\n")


if __name__ == "__main__":
    sys.exit(main())
