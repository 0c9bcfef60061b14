"""Every process is restarted in turn, gateways and Envoys too, while callers call: none of them notices."""

from __future__ import annotations

from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, told
from tests.distributed.result import Result

SHORT = {"sampler-1", "diffusion-1", "gateway-1", "envoy-1"}
CALLS = {"short": 400, "long": 20_000}


def run(cluster: Cluster, scale: str) -> Result:
    """Restart and restart again, until all had a turn and so many calls were made: none may fail.

    The short form takes those of SHORT alone: one of each kind, a service that streams among them.
    """
    result = Result("rolling-restart")
    starts: dict[str, float] = {}
    turns = [*cluster.replicas, *cluster.gateways, *cluster.front.processes]
    if scale == "short":
        turns = [each for each in turns if each.name in SHORT]
    with Load(cluster) as load:
        load.wait_for(100)
        while not starts or len(load.outcomes) < CALLS[scale]:
            for process in turns:
                starts[process.name] = process.restart()
                # As a rollout does: the next one goes when this one is back.
                cluster.wait_whole()
        load.wait_for(100)
    result.figure("processes restarted", len(turns))
    result.figure("calls", len(load.outcomes))
    result.figure("failed", len(load.failed))
    result.figure("slowest call, s", max(each.seconds for each in load.outcomes))
    result.figure("slowest start, s", max(starts.values()))
    result.rule(not load.failed, f"no call fails: {told(load.failed)}")
    return result
