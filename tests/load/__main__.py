"""``python -m tests.load SCENARIO`` (``make load SCENARIO=…``): run a scenario, print it, write its report.

Without a target it starts a platform of its own on free ports, in a folder that is gone afterwards. The exit
code is 1 where a rule is broken or the run invalid, 2 where it could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.load.parsing import ScenarioError, load_scenario, names
from tests.load.report.console import told
from tests.load.report.html import page
from tests.load.result import Result
from tests.load.running import run
from tests.load.scenario import Scenario, UnusableError
from tests.load.targets import running, started_for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    options = _parsed(arguments)
    try:
        scenario = load_scenario(options.scenario).scaled(options.scale)
        result = _run(scenario, options)
    except (ScenarioError, UnusableError, pytest.fail.Exception) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _written(result, options.out)
    return 0 if result.passed else 1


def _run(scenario: Scenario, options: argparse.Namespace) -> Result:
    if options.target:
        return asyncio.run(run(scenario, running(scenario, options.target, options.http)))
    with started_for(scenario) as target:
        return asyncio.run(run(scenario, target))


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


def _written(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{result.scenario.name}.html"
    report.write_text(page(result))
    report.with_suffix(".json").write_text(json.dumps(result.as_dict(), indent=1))
    sys.stdout.write(f"{told(result)}\n{report} and .json\n")


if __name__ == "__main__":
    sys.exit(main())
