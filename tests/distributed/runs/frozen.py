"""A replica, then a gateway, stands still with its connections open: calls go elsewhere until it goes on."""

from __future__ import annotations

from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, told
from tests.distributed.process import Process
from tests.distributed.result import Result


def run(cluster: Cluster, scale: str) -> Result:
    """Calls to a frozen replica all get their answer; of a frozen gateway those fail that were on it."""
    result = Result("frozen")
    with Load(cluster) as load:
        load.wait_for(100)
        for name in ("sampler-1", "tokenizer-2")[: 1 if scale == "short" else 2]:
            _freeze(cluster, load, cluster[name], result)
            result.rule(not load.failed, f"no call fails while {name} is frozen: {told(load.failed)}")
        before = len(load.failed)
        noticed = _freeze(cluster, load, cluster["gateway-1"], result)
        load.wait_for(100)
    lost = load.failed[before:]
    # What Envoy sent there before it noticed is on the frozen gateway, too.
    strangers = [each for each in lost if not each.cut_off or each.began > noticed]
    result.figure("calls", len(load.outcomes))
    result.figure("failed, while a gateway was frozen", len(lost))
    result.rule(not strangers, f"only calls on the frozen gateway fail: {told(strangers)}")
    return result


def _freeze(cluster: Cluster, load: Load, process: Process, result: Result) -> float:
    """Freeze it until calls go elsewhere, and some more; returns when that was noticed."""
    process.freeze()
    try:
        after = cluster.wait_for(lambda: _left_alone(cluster, process), f"{process.name} is left alone")
        noticed = load.now()
        load.wait_for(200)
    finally:
        process.thaw()
    back = cluster.wait_whole()
    result.figure(f"{process.name}: left alone after, s", after)
    result.figure(f"{process.name}: back after, s", back)
    load.wait_for(100)
    return noticed


def _left_alone(cluster: Cluster, process: Process) -> bool:
    if process in cluster.gateways:
        return cluster.envoy_sees() < len(cluster.gateways)
    return not any(cluster.sees_all(each) for each in cluster.gateways)
