"""The runs by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.distributed.cluster import SMALL, Cluster
from tests.distributed.result import Result
from tests.distributed.runs import rolling_restart


@dataclass(frozen=True)
class Run:
    """``run(cluster, scale)``, scale "short" or "long"; ``variables``: settings of all processes."""

    run: Callable[[Cluster, str], Result]
    variables: Mapping[str, str] = field(default_factory=lambda: SMALL)


RUNS = {
    "rolling-restart": Run(rolling_restart.run),
}
