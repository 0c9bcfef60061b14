"""A replica, then a gateway, stands still with its connections open: calls go elsewhere until it goes on."""

from __future__ import annotations

import time

from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, told
from tests.distributed.process import Process
from tests.distributed.result import Result

_NOTICED_SECONDS = 4.0
"""Envoy asks every two seconds and waits one for the answer; and one for a machine that is busy."""


def run(cluster: Cluster, scale: str) -> Result:
    """Calls to a frozen replica all get their answer; of a frozen gateway those fail that were on it."""
    result = Result("frozen")
    with Load(cluster) as load:
        load.wait_for(100)
        for name in ("sampler-1", "tokenizer-2")[: 1 if scale == "short" else 2]:
            _freeze(cluster, load, cluster[name], result)
            result.rule(not load.failed, f"no call fails while {name} is frozen: {told(load.failed)}")
        before, frozen_at = set(load.failed), time.monotonic()
        _freeze(cluster, load, cluster["gateway-1"], result)
        load.wait_for(100)
    lost = [each for each in load.failed if each not in before]
    # Envoy needs some seconds to notice; what it sent there until then is on the frozen gateway, too.
    noticed = frozen_at + _NOTICED_SECONDS
    strangers = [each for each in lost if not each.cut_off or each.began > noticed]
    result.figure("calls", len(load.outcomes))
    result.figure("failed, while a gateway was frozen", len(lost))
    result.rule(not strangers, f"only calls on the frozen gateway fail: {told(strangers)}")
    return result


def _freeze(cluster: Cluster, load: Load, process: Process, result: Result) -> None:
    process.freeze()
    try:
        noticed = cluster.wait_for(lambda: _left_alone(cluster, process), f"{process.name} is left alone")
        load.wait_for(200)
    finally:
        process.thaw()
    back = cluster.wait_whole()
    result.figure(f"{process.name}: left alone after, s", noticed)
    result.figure(f"{process.name}: back after, s", back)
    load.wait_for(100)


def _left_alone(cluster: Cluster, process: Process) -> bool:
    if process in cluster.gateways:
        return cluster.envoy_sees() < len(cluster.gateways)
    return not any(cluster.sees_all(each) for each in cluster.gateways)
