"""The short forms of all that may befall a cluster: each run keeps its rules; times are shown only.

Those of SLOW take minutes for what other tests prove of single processes: kills in ``tests/e2e/test_up.py``;
frozen processes, a database or a store that is away, damaged files, a full disk, cancels of jobs
and their limits, clocks that disagree in ``tests/unit``.
"""

from __future__ import annotations

import sys

import pytest

from tests.distributed import console
from tests.distributed.cluster import SMALL, running
from tests.distributed.result import Unavailable
from tests.distributed.runs.table import RUNS
from tests.unit import postgres

pytestmark = pytest.mark.timeout(900)
SLOW = {
    "clock-jump",
    "kills",
    "database-away",
    "frozen",
    "full-disk",
    "job-ends",
    "slow-network",
    "store-away",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One for all runs: each leaves it as it was."""
    folder = tmp_path_factory.mktemp("cluster") / "cluster"
    try:
        with running(folder, **SMALL) as whole:
            yield whole
    except postgres.NoServer as reason:
        pytest.skip(f"no PostgreSQL: {reason}")


def test_a_person_sees_and_commands_every_process(cluster):
    said = console.obey(cluster, ["status"])
    assert said.count("ready") == len(cluster.processes)
    assert "not ready" not in said
    assert console.obey(cluster, ["start", "gan-2"]) == "gan-2 runs already"
    assert console.obey(cluster, ["freeze", "gan-2"]) == "freeze gan-2: done"
    assert "not ready" in console.obey(cluster, ["status"])
    assert console.obey(cluster, ["thaw", "gan-2"]) == "thaw gan-2: done"
    assert console.obey(cluster, ["stop", "envoy-2"]) == "stop envoy-2: exit code 0"
    assert len(cluster.front.link.targets) == 1
    assert console.obey(cluster, ["start", "envoy-2"]).startswith("start envoy-2: ready after")
    assert len(cluster.front.link.targets) == 2
    assert "deeds: stop, kill," in console.obey(cluster, ["sink", "gan-2"])
    cluster.wait_whole()


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each in SLOW else ()) for each in sorted(RUNS)]
)
def test_what_is_promised_holds(cluster, name):
    cluster.wait_whole()
    try:
        result = RUNS[name].run(cluster, "short")
    except Unavailable as reason:
        pytest.skip(str(reason))
    sys.stdout.write(f"{result}\n")  # for pytest -rP
    assert not result.broken
    cluster.wait_whole()
