"""The network between gateways and services becomes slow: all calls are answered, later.

Between them stands a TCP proxy of ours that delays every byte: it needs no rights, and is slow in both
directions, but it loses nothing and reorders nothing.
"""

from __future__ import annotations

import contextlib
import statistics

from services.common.catalogue import SERVICES
from tests.distributed.cluster import MACHINES, Cluster
from tests.distributed.link import Link
from tests.distributed.load import Load, told
from tests.distributed.result import Result

CALLS = {"short": 150, "long": 2_000}
SLOW, VERY_SLOW = 0.1, 1.0
"""Seconds in each direction: of every replica; of the replicas of one machine."""


def run(cluster: Cluster, scale: str) -> Result:
    """First everything is slow, then one machine is very slow."""
    result = Result("slow-network")
    with contextlib.ExitStack() as stack:
        links: dict[tuple[str, int], Link] = {}
        for service in SERVICES:
            for machine, host in MACHINES.items():
                links[service.name, machine] = Link([(host, cluster.ports[service.name])])
                stack.callback(links[service.name, machine].close)
        for gateway in cluster.gateways:
            gateway.restart(**_through(links))
            cluster.wait_whole()
        with Load(cluster) as load:
            for what, delays in _PHASES.items():
                for (_, machine), link in links.items():
                    link.delay = delays[machine]
                load.wait_for(20)  # what was under way before
                since = len(load.outcomes)
                load.wait_for(CALLS[scale])
                seconds = [each.seconds for each in load.outcomes[since:]]
                result.figure(f"{what}: median of a call, s", statistics.median(seconds))
                result.figure(f"{what}: slowest, s", max(seconds))
        result.figure("calls", len(load.outcomes))
        result.figure("failed", len(load.failed))
        result.rule(not load.failed, f"no call fails: {told(load.failed)}")
        for gateway in cluster.gateways:
            gateway.restart()
            cluster.wait_whole()
    return result


_PHASES = {
    "as it is": {1: 0.0, 2: 0.0},
    f"{SLOW:g} s each way": {1: SLOW, 2: SLOW},
    f"{VERY_SLOW:g} s each way to one machine": {1: VERY_SLOW, 2: 0.0},
}


def _through(links: dict[tuple[str, int], Link]) -> dict[str, str]:
    """Settings by which a gateway finds the replicas behind the links."""
    return {
        f"PEQUOD_{service.name.upper()}_BACKENDS": ",".join(
            links[service.name, machine].address for machine in MACHINES
        )
        for service in SERVICES
    }
