"""The runs by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.distributed.cluster import SMALL, Cluster
from tests.distributed.result import Result
from tests.distributed.runs import (
    clock_jump,
    database_away,
    frozen,
    full_disk,
    job_ends,
    kills,
    rolling_restart,
    slow_network,
    store_away,
)


@dataclass(frozen=True)
class Run:
    """``run(cluster, scale)``, scale "short" or "long"; ``variables``: settings of all processes."""

    run: Callable[[Cluster, str], Result]
    variables: Mapping[str, str] = field(default_factory=lambda: SMALL)


RUNS = {
    "clock-jump": Run(clock_jump.run),
    "full-disk": Run(full_disk.run),
    "slow-network": Run(slow_network.run),
    "database-away": Run(database_away.run),
    "frozen": Run(frozen.run),
    "job-ends": Run(job_ends.run),
    "kills": Run(kills.run),
    "rolling-restart": Run(rolling_restart.run),
    "store-away": Run(store_away.run),
}
