"""A replica, then a gateway, stands still with its connections open: calls go elsewhere until it goes on."""

from __future__ import annotations

from typing import NamedTuple

from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, Outcome, told
from tests.distributed.process import Process
from tests.distributed.result import Result


def run(cluster: Cluster, scale: str) -> Result:
    """Only calls fail that a frozen replica had begun, or that were on a frozen gateway."""
    result = Result("frozen")
    with Load(cluster) as load:
        load.wait_for(100)
        for name in ("sampler-1", "tokenizer-2")[: 1 if scale == "short" else 2]:
            before = len(load.failed)
            frozen = _freeze(cluster, load, cluster[name], result)
            lost = load.failed[before:]
            strangers = [each for each in lost if not _had_begun(each, name, frozen)]
            result.figure(f"failed, that {name} had begun", len(lost) - len(strangers))
            result.rule(not strangers, f"only calls that {name} had begun fail: {told(strangers)}")
        before = len(load.failed)
        frozen = _freeze(cluster, load, cluster["gateway-1"], result)
        load.wait_for(100)
    lost = load.failed[before:]
    # What Envoy sent there before it noticed is on the frozen gateway, too.
    strangers = [each for each in lost if not each.cut_off or each.began > frozen.noticed]
    result.figure("calls", len(load.outcomes))
    result.figure("failed, while a gateway was frozen", len(lost))
    result.rule(not strangers, f"only calls on the frozen gateway fail: {told(strangers)}")
    return result


class _Frozen(NamedTuple):
    """When a process stood still, and when calls went elsewhere; by ``Load.now``."""

    at: float
    noticed: float


def _had_begun(failed: Outcome, replica: str, frozen: _Frozen) -> bool:
    """Whether the replica may have begun the call before it froze: such a call is not tried again."""
    its = failed.kind.service == replica.rpartition("-")[0]
    return its and failed.cut_off and failed.began <= frozen.at


def _freeze(cluster: Cluster, load: Load, process: Process, result: Result) -> _Frozen:
    """Freeze it until calls go elsewhere, and some more."""
    process.freeze()
    at = load.now()
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
    return _Frozen(at, noticed)


def _left_alone(cluster: Cluster, process: Process) -> bool:
    if process in cluster.gateways:
        return max(cluster.front.sees()) < len(cluster.gateways)
    return not any(cluster.sees_all(each) for each in cluster.gateways)
