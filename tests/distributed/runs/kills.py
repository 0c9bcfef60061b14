"""kill -9: of a process of each kind in turn, or of a random one every twenty seconds."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.distributed.cluster import Cluster
from tests.distributed.jobs import Trainees
from tests.distributed.load import Load, Outcome, told
from tests.distributed.process import Process
from tests.distributed.result import Result

LONG_SECONDS = 600.0
EVERY_SECONDS = 20.0
_MARGIN = 1.0
"""Seconds, after a process is ready, until all that call it do: gateways a replica, Envoys a gateway."""


@dataclass(frozen=True)
class _Kill:
    """It happened at some time between the two."""

    victim: Process
    began: float
    ended: float

    def explains(self, failed: Outcome) -> bool:
        """Whether the call was under way and may have been on the victim, and ended as it must."""
        service = self.victim.name.rpartition("-")[0]
        its = service in {"gateway", failed.kind.service}
        return its and failed.cut_off and failed.during(self.began, self.ended)


def run(cluster: Cluster, scale: str) -> Result:
    """Only calls on the victim fail; it is back at once when it has started; no job, no model is lost."""
    result = Result("kills")
    kills: list[_Kill] = []
    noticed: list[float] = []
    jobs = Trainees(cluster)
    with Load(cluster) as load:
        load.wait_for(100)
        for victim in _victims(cluster, scale):
            if len(jobs.accepted) < 20:
                jobs.create()
            began = load.now()
            victim.kill()
            kills.append(_Kill(victim, began, load.now()))
            victim.start()
            victim.wait_ready()
            noticed.append(cluster.wait_whole())
        load.wait_for(100)
    strangers = [each for each in load.failed if not any(kill.explains(each) for kill in kills)]
    most = max(sum(kill.explains(each) for each in load.failed) for kill in kills)
    result.figure("kills", len(kills))
    result.figure("seconds from one kill to the next, mean", _apart(kills))
    result.figure("calls", len(load.outcomes))
    result.figure("failed", len(load.failed))
    result.figure("most that one kill took with it", most)
    result.figure("jobs accepted", len(jobs.accepted))
    result.rule(not strangers, f"only calls in flight on the victim fail: {told(strangers)}")
    result.limit(max(noticed), _MARGIN, "longest from ready until it is called by all, s")
    lost = jobs.lost()
    jobs.close()
    result.figure("jobs and models lost", len(lost))
    result.rule(not lost, f"no accepted job and no published model is lost: {lost}")
    return result


def _apart(kills: list[_Kill]) -> float:
    return (kills[-1].began - kills[0].began) / max(1, len(kills) - 1)


def _victims(cluster: Cluster, scale: str) -> Iterator[Process]:
    if scale == "short":
        yield from (cluster[name] for name in ("sampler-1", "finetune-1", "gateway-1"))
        return
    dice, ends = random.Random(20), time.monotonic() + LONG_SECONDS
    while (now := time.monotonic()) < ends:
        yield dice.choice([*cluster.replicas, *cluster.gateways])
        time.sleep(max(0.0, now + EVERY_SECONDS - time.monotonic()))
